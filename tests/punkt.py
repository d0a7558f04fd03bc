"""nltk's data for English sentences, made of one sentence, where the real ones are not at hand."""

from pathlib import Path


def make_punkt(folder: Path) -> Path:
    """Write punkt_tab below *folder* as nltk's downloader does, and return the folder."""
    from nltk.tokenize.punkt import PunktTrainer, save_punkt_params

    trainer = PunktTrainer("This is a sentence. This is another, by Mr. Smith.")
    place = folder / "tokenizers/punkt_tab/english"
    place.mkdir(parents=True)
    save_punkt_params(trainer.get_params(), str(place))
    return folder
