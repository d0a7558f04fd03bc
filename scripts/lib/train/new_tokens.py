"""Rows of the embedding for tokens that a base was not trained with: their start, their training.

A row starts at the mean of the rows that the base's own tokens have, as
https://nlp.stanford.edu/~johnhew/vocab-expansion.html advises, so that a new token is at first no
likelier than the average one; normal noise of a hundredth of their standard deviation in each
dimension, drawn from the run's seed, tells the new ones apart. So it is in the embedding, and in
the output layer where that has rows of its own. A full fine-tune trains them with all others, PEFT
beside an adapter these alone (`lora_config`).
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

NOISE = 0.01  # of the standard deviation
BLOCK_ROWS = 4096  # float64 of so many rows is in memory


def start_rows(
    model: PreTrainedModel, seed: int, tokens: Sequence[int], known: int
) -> dict[str, list[int]]:
    """Give tokens that a model was not trained with rows that can be trained, in place.

    Spare rows are used where the model has them; else its embedding grows.

    Args:
        model: The base, loaded.
        seed: Draws the noise.
        tokens: Ids of the new tokens, one at least.
        known: Ids of the tokenizer; rows behind them are spare.

    Returns:
        Layer -> ids of the rows that are to be trained.
    """
    rows, needed = embedding_layers(model)[0][1].weight.shape[0], max(tokens) + 1
    if needed > rows:
        # Rows that a tokenizer larger than its model lacked are trained with the new ones.
        tokens = [*tokens, *range(rows, needed)]
        model.resize_token_embeddings(needed, mean_resizing=False)
    trained = sorted(set(tokens))
    layers = embedding_layers(model)
    noise = torch.Generator().manual_seed(seed)
    for _, layer in layers:
        weight = layer.weight.data
        start = _start(weight[: min(rows, known)], trained, noise)
        weight[trained] = start.to(weight)
    return {name.rpartition(".")[2]: trained for name, _ in layers}


def embedding_layers(model: PreTrainedModel) -> list[tuple[str, torch.nn.Module]]:
    """Return name and module of the embedding, and of the output layer where it is another one."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    wanted = [embedding]
    if head is not None and head.weight is not embedding.weight:
        wanted.append(head)
    names = {id(module): name for name, module in model.named_modules()}
    return [(names[id(module)], module) for module in wanted]


def _start(weight: torch.Tensor, trained: Sequence[int], noise: torch.Generator) -> torch.Tensor:
    """Return where new rows start: the mean of the known ones and a little noise, (new, width)."""
    known = torch.ones(len(weight), dtype=torch.bool)
    known[[token for token in trained if token < len(weight)]] = False
    total, squares = torch.zeros(2, weight.shape[1], dtype=torch.float64)
    for part, kept in zip(weight.split(BLOCK_ROWS), known.split(BLOCK_ROWS), strict=True):
        values = part.cpu()[kept].double()
        total += values.sum(0)
        squares += values.square().sum(0)
    mean = total / known.sum()
    spread = (squares / known.sum() - mean.square()).clamp(min=0).sqrt()
    drawn = torch.randn(len(trained), weight.shape[1], generator=noise, dtype=torch.float64)
    return mean + NOISE * spread * drawn
