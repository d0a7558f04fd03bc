"""A base with an adapter on it, in float32, for PEFT to merge; what does not fit is an error."""

from pathlib import Path

import torch
from peft import PeftModel

from scripts.lib.errors import MergeError
from scripts.lib.merge.adapter import ADAPTER_WEIGHTS
from scripts.lib.merge.embeddings import EMBEDDING_ENDINGS, embedding_name
from scripts.lib.merge.paged_models import load_float32
from scripts.lib.merge.safetensors_files import read_bytes, read_weight_file
from scripts.lib.merge.unmerged import attach

# How PEFT names an embedding that it also adds to.
WRAPPED = tuple(f"{ending.removesuffix('weight')}base_layer.weight" for ending in EMBEDDING_ENDINGS)
WRAPPED += tuple(
    f"{ending.removesuffix('weight')}token_adapter.base_layer.weight"
    for ending in EMBEDDING_ENDINGS
)


def load_tuned(
    model: Path,
    adapter: Path,
    *,
    untie: bool = False,
    scratch: Path | None = None,
    free: int | None = None,
) -> PeftModel:
    """Load *model* with *adapter* in float32; a vocabulary that the adapter resized is resized.

    Args:
        model: Folder of the base.
        adapter: Folder of the adapter.
        untie: Whether to give the output layer a copy of the embedding that it is tied to. PEFT
            merges into tied weights as if they were one, which its forward pass does not.
        scratch: A folder for the weights, should they not fit in memory; None keeps them there.
        free: Free memory in bytes; None asks the machine.

    Raises:
        MergeError: If the adapter fits another base.
    """
    base = load_float32(model, scratch, free).model
    rows = _embedding_rows(adapter)
    if rows and rows != base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(rows, mean_resizing=False)
    if untie:
        head = base.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
        base.config.tie_word_embeddings = False
    hint = f"The adapter {adapter} was trained on another base than {model}; give the one it names."
    try:
        tuned, left = attach(base, adapter)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise MergeError(f"PEFT cannot put the adapter on its base: {error} {hint}") from error
    if odd := [name for name in left if not _is_tied_copy(name, adapter)]:
        names = ", ".join(odd[:3])
        raise MergeError(f"the base has no place for {names} ({len(odd)} in all). {hint}")
    return tuned.eval()


def _is_tied_copy(name: str, adapter: Path) -> bool:
    """Tell whether *name* is what PEFT saved of a tied output layer beside its embedding's."""
    stored = read_weight_file(adapter / ADAPTER_WEIGHTS).tensors
    copies = [t for t in stored if t.name.endswith(".token_adapter.trainable_tokens_delta")]
    own = [t for t in copies if t.name == name]
    return any(read_bytes(t) == read_bytes(one) for one in own for t in copies if t is not one)


def _embedding_rows(adapter: Path) -> int:
    """Return the rows of the embedding that *adapter* holds as a whole; 0 where it holds none."""
    stored = {t.name: t for t in read_weight_file(adapter / ADAPTER_WEIGHTS).tensors}
    whole = embedding_name(stored) or next((n for n in stored if n.endswith(WRAPPED)), "")
    return stored[whole].rows if whole else 0
