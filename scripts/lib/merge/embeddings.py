"""The input embedding and the output layer: which tensors they are, and whether they stay one.

Two things that a merge may do to them are done to no other tensor: a vocabulary grows, and a tie
between the two is undone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from scripts.lib.errors import MergeError
from scripts.lib.merge.adapter import StoredAdapter, Update, largest_token_id
from scripts.lib.merge.safetensors_files import StoredTensor, read_bytes

EMBEDDING_ENDINGS = (
    *("embed_tokens.weight", "wte.weight", "word_embeddings.weight"),
    *("embed_in.weight", "tokens_embed.weight"),
)
OUTPUT_NAMES = ("lm_head.weight", "embed_out.weight")


def embedding_name(names: Iterable[str]) -> str:
    """Return the name of the input embedding among *names*, or nothing."""
    return next((name for name in names if name.endswith(EMBEDDING_ENDINGS)), "")


def output_name(names: Iterable[str]) -> str:
    """Return the name of the output layer among *names*, or nothing where it is tied."""
    return next((name for name in names if name in OUTPUT_NAMES), "")


def settle_tie(
    updates: dict[str, Update],
    base: Mapping[str, StoredTensor],
    config: Mapping[str, Any],
    adapter: StoredAdapter,
) -> tuple[bool, tuple[str, ...]]:
    """Decide whether tied embeddings part, and leave in *updates* what is done to each.

    Returns:
        Whether they part, and why PEFT has to merge, if so.
    """
    embedding, output = embedding_name(base), output_name(base)
    head = output or OUTPUT_NAMES[0]
    own, theirs = updates.get(embedding), updates.get(head)
    if own is None and theirs is None:
        return False, ()
    if output:
        # Where both are stored and the config ties them, the files alone do not tell which counts.
        twice = config.get("tie_word_embeddings") is True
        return False, ("the base stores tied embeddings twice",) if twice else ()
    ensured = bool(adapter.config.get("ensure_weight_tying"))
    if ensured and any(update and update.down for update in (own, theirs)):
        return False, ("it uses ensure_weight_tying with LoRA on the embeddings",)
    if _stay_tied(own, theirs, embedding, adapter.config):
        updates.pop(head, None)
        return False, ()
    if theirs is None:
        # The output layer keeps what the embedding was before it was trained.
        resized = own is not None and own.whole and own.whole.shape != base[embedding].shape
        updates[head] = Update(whole=own.whole) if own and resized else Update()
    return True, ()


def _stay_tied(
    own: Update | None, theirs: Update | None, embedding: str, config: Mapping[str, Any]
) -> bool:
    """Tell whether one tensor can serve as embedding and output layer after the merge."""
    if own is None:
        return False
    if own.down or (theirs and theirs.down):
        return False
    if theirs is not None:
        # PEFT saves both when the vocabulary was resized.
        tokens = theirs.token_values is None or _same_bytes(own.token_values, theirs.token_values)
        return tokens and _same_bytes(own.whole, theirs.whole)
    module = f".{embedding.removesuffix('.weight')}"
    trained = any(module.endswith(f".{name}") for name in config.get("modules_to_save") or ())
    return not (own.whole and trained) or bool(config.get("ensure_weight_tying"))


def _same_bytes(one: StoredTensor | None, other: StoredTensor | None) -> bool:
    if one is None or other is None:
        return False
    same = (one.dtype, one.shape) == (other.dtype, other.shape)
    return same and read_bytes(one) == read_bytes(other)


def check_vocabulary(
    shapes: Mapping[str, tuple[int, ...]], adapter: StoredAdapter, hint: str
) -> int:
    """Return the rows of the embedding in *shapes*, 0 where no tensor is known as one.

    Raises:
        MergeError: If the output layer or the adapter's tokenizer disagrees with them.
    """
    embedding, output = embedding_name(shapes), output_name(shapes)
    if not embedding:
        return 0
    rows = shapes[embedding][0]
    if output and shapes[output][0] != rows:
        raise MergeError(
            f"the vocabulary was changed in one place only: {embedding} has {rows} rows, {output}"
            f" {shapes[output][0]}. {hint}"
        )
    largest = largest_token_id(adapter.folder)
    if largest >= rows:
        raise MergeError(
            f"the adapter's tokenizer has the id {largest}, the base {rows} embedding rows. {hint}"
        )
    return rows
