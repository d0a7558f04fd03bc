"""nltk's data for English sentences, made of one sentence, where the real ones are not at hand."""

from pathlib import Path


def make_punkt(folder: Path) -> Path:
    """Write punkt_tab below *folder* as nltk's downloader does, and return the folder.

    Not by nltk's `save_punkt_params`, which writes only below folders that nobody else may write
    to: a shared /tmp is none.
    """
    from nltk.tabdata import TabEncoder
    from nltk.tokenize.punkt import PunktTrainer

    trainer = PunktTrainer("This is a sentence. This is another, by Mr. Smith.")
    learnt, tab = trainer.get_params(), TabEncoder()
    texts = {
        "collocations.tab": tab.tups2tab(learnt.collocations),
        "sent_starters.txt": tab.set2txt(learnt.sent_starters),
        "abbrev_types.txt": tab.set2txt(learnt.abbrev_types),
        "ortho_context.tab": tab.ivdict2tab(learnt.ortho_context),
    }
    place = folder
    # Nor does nltk read what others may write, as a umask of 002 makes it.
    place.mkdir(mode=0o755)
    for part in ("tokenizers", "punkt_tab", "english"):
        place /= part
        place.mkdir(mode=0o755)
    for name, text in texts.items():
        (place / name).touch(mode=0o644)
        (place / name).write_text(text)
    return folder
