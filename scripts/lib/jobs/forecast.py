"""What fine-tunes will take, told before they are queued: tokens, steps, memory, hours.

Tokens and steps come from the shards, where they exist; memory from the base's files, where they
are here; hours from recorded jobs of the same stage on the same model, and from nothing else. What
is not known is None.
"""

import json
import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from scripts.lib.artifacts.store import Found, Store
from scripts.lib.canonical import canonical_json
from scripts.lib.jobs.gpu_memory import Gpu, asked_gpu
from scripts.lib.jobs.launch import process_count
from scripts.lib.jobs.recorded import fitting_hours, recorded_rates
from scripts.lib.plan.missing import Plan
from scripts.lib.train.lora_size import adapter_of
from scripts.lib.train.memory import CARD_SHARE, DEVICE_BYTES, FineTune, TrainingBytes
from scripts.lib.train.micro_batch import (
    MOST_TOKENS,
    Passes,
    choose_passes,
    default_micro_batch,
    divisors,
)
from scripts.lib.train.model_size import ModelSize, size_of

TRAINED_STAGES = ("adapters", "trained")
"""Stages whose jobs train."""

PACKED_TOGETHER = 1000
"""Rows among which TRL looks for what goes into one sequence (`datasets.map`'s batch)."""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """What a run trains on.

    Attributes:
        rows: Conversations, or turns that are sequences of their own.
        sequences: What they are laid into; None where that was not counted.
        tokens: Of one pass.
        trained_tokens: Those of them that the loss looks at.
        longest: Tokens of the longest row.
    """

    rows: int
    sequences: int | None
    tokens: int
    trained_tokens: int
    longest: int


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The memory of one process of a fine-tune on a GPU.

    Attributes:
        need: The way that training will go, as far as the GPU is known.
        passes: That way.
        least: Bytes that it takes with one sequence in a pass and all activations recomputed, the
            device's own included.
    """

    need: TrainingBytes
    passes: Passes
    least: int


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What one fine-tune will take; None is unknown.

    Attributes:
        names: The runs that share it.
        amount: What it is trained on.
        steps: Optimizer steps.
        passes: Passes over the rows.
        memory: Of one process on a GPU, and how it goes through its sequences.
        gpu: The GPU that the profile names.
        hours: Device -> hours, from recorded jobs.
    """

    names: tuple[str, ...]
    amount: Amount | None = None
    steps: int | None = None
    passes: float | None = None
    memory: Planned | None = None
    gpu: Gpu | None = None
    hours: Mapping[str, float] = field(default_factory=dict)


def trainings(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the fine-tunes that are to be done, each with the names of its runs."""
    wanted: dict[str, list[str]] = {
        id: [] for id in plan.missing if plan.graph.artifacts[id].stage in TRAINED_STAGES
    }
    for candidate in plan.graph.candidates:
        for stage in TRAINED_STAGES:
            if (id := candidate.artifacts.get(stage)) in wanted:
                wanted[id].append(candidate.name)
    return {id: tuple(names) or (id,) for id, names in wanted.items()}


def forecast(
    plan: Plan, store: Store, id: str, names: Sequence[str], resources: Mapping[str, Any]
) -> Forecast:
    """Return all that can be known of one fine-tune.

    Args:
        plan: The plan.
        store: Results and caches.
        id: Its artifact.
        names: Its runs.
        resources: Of its job: `gpu` (or `tasks`), `micro_batch`, and what names a GPU.
    """
    artifact = plan.graph.artifacts[id]
    loop = artifact.spec["training"]
    shards = [there(plan, one) for one in artifact.reads["shards"]]
    packed_into = loop["max_length_tokens"] if loop["packing"] else None
    mixture = artifact.spec.get("mixture", ())
    amount = mixed_amount(shards, mixture, packed_into=packed_into, count=True)
    planned = memory_of(plan, id, resources, amount)
    gpu = asked_gpu(resources)
    known = Forecast(names=tuple(names), amount=amount, memory=planned, gpu=gpu)
    if amount is None or amount.sequences is None:
        return known
    per_pass = math.ceil(amount.sequences / loop["batch_size"])
    steps = loop["max_steps"] or math.ceil(loop["epochs"] * per_pass)
    passes = steps / per_pass
    model = there(plan, artifact.reads["model"][0])
    rates = recorded_rates(store, artifact.stage, model, processes(resources))
    hours = {device: amount.tokens * passes / rate / 3600 for device, rate in rates.items()}
    return replace(known, steps=steps, passes=passes, hours=fitting_hours(hours, gpu))


def there(plan: Plan, id: str) -> Found | None:
    """Return an artifact that is present with its files, and not about to be made again."""
    found = plan.found.get(id)
    return found if found and found.folder and id not in plan.missing else None


def amount_of(
    shards: Found | None, *, packed_into: int | None, count: bool = True
) -> Amount | None:
    """Return what shards hold to train on.

    Args:
        shards: The shards, or None where they do not exist yet.
        packed_into: Tokens of a sequence that takes several rows; None where each is one.
        count: Read the rows to count packed sequences; else they stay unknown.
    """
    if shards is None or shards.folder is None:
        return None
    counts = shards.manifest["facts"].get("tokens", {}).get("splits", {}).get("train")
    if not counts or not counts["trained_tokens"]:
        return None
    sequences: int | None = counts["rows"]
    if packed_into is not None:
        lengths = _lengths(shards.folder) if count else None
        sequences = packed_sequences(lengths, packed_into) if lengths is not None else None
    return Amount(
        rows=counts["rows"],
        sequences=sequences,
        tokens=counts["tokens"],
        trained_tokens=counts["trained_tokens"],
        longest=counts["longest_tokens"],
    )


def mixed_amount(
    shards: Sequence[Found | None],
    mixture: Sequence[Mapping[str, Any]],
    *,
    packed_into: int | None,
    count: bool,
) -> Amount | None:
    """Return what the shards of a run's datasets hold to train on.

    Args:
        shards: Of each dataset; None where they do not exist yet.
        mixture: What is taken of each; empty where all of one is.
        packed_into: Tokens of a sequence that takes several rows; None where each is one.
        count: Read the rows of several datasets, to know which are trained on; else what each gives
            is reckoned from its counts, and sequences stay unknown.
    """
    if not mixture:
        return amount_of(shards[0], packed_into=packed_into, count=count)
    each = [amount_of(one, packed_into=None) for one in shards]
    folders = [one.folder for one in shards if one and one.folder]
    known = [one for one in each if one]
    if len(known) < len(each):
        return None
    if not count:
        return _reckoned(known, mixture)
    lengths, trained_tokens = _mixed(tuple(folders), canonical_json(mixture))
    sequences = len(lengths) if packed_into is None else packed_sequences(lengths, packed_into)
    return Amount(
        rows=len(lengths),
        sequences=sequences,
        tokens=sum(lengths),
        trained_tokens=trained_tokens,
        longest=max(lengths),
    )


def _reckoned(each: Sequence[Amount], mixture: Sequence[Mapping[str, Any]]) -> Amount:
    """Return what an epoch over several datasets holds, by the counts of each."""
    # It takes a while to import, which planning need not wait for where there is no mixture.
    from scripts.lib.train.mixture import expected_reads, portions_of

    rows, trained = [one.rows for one in each], [one.trained_tokens for one in each]
    reads = expected_reads(rows, trained, portions_of(mixture))

    def total(counts: Sequence[int]) -> int:
        return round(sum(n * times for n, times in zip(counts, reads, strict=True)))

    return Amount(
        rows=total(rows),
        sequences=None,
        tokens=total([one.tokens for one in each]),
        trained_tokens=total(trained),
        longest=max(one.longest for one in each),
    )


@cache
def _mixed(shards: tuple[Path, ...], mixture: str) -> tuple[list[int], int]:
    """Return the tokens of each row that an epoch over datasets reads, and all trained ones."""
    import numpy as np

    from scripts.lib.train.mixture import Rows, mix, portions_of

    train, valid, test = (
        [Rows.of(sorted(folder.glob(f"{split}-*.parquet"))) for folder in shards]
        for split in ("train", "valid", "test")
    )
    chosen = mix(train, valid, test, portions_of(json.loads(mixture)))
    lengths = np.concatenate([one.tokens for one in train])[chosen.train]
    return lengths.tolist(), chosen.trained_tokens


@cache
def _lengths(shards: Path) -> list[int]:
    """Return the tokens of each row of the train split, in order."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: list[int] = []
    for file in sorted(shards.glob("train-*.parquet")):
        column = pq.read_table(file, columns=["input_ids"])["input_ids"]
        found += pc.list_value_length(column).to_pylist()
    return found


def packed_sequences(lengths: Sequence[int], size: int) -> int:
    """Return how many sequences of *size* tokens hold rows of some lengths, packed as TRL does.

    Best fit, longest first, among PACKED_TOGETHER neighbours: each row goes where least room is
    left (trl.data_utils, strategy `bfd`).
    """
    count = 0
    for start in range(0, len(lengths), PACKED_TOGETHER):
        room: list[int] = []  # of sequences that are begun, sorted
        for length in sorted(lengths[start : start + PACKED_TOGETHER], reverse=True):
            place = bisect_left(room, length)
            if place < len(room):
                left = room.pop(place) - length
            else:
                count, left = count + 1, size - length
            if left > 0:
                insort(room, left)
    return count


def memory_of(
    plan: Plan,
    id: str,
    resources: Mapping[str, Any],
    amount: Amount | None = None,
    change: Mapping[str, Any] | None = None,
) -> Planned | None:
    """Return the memory of one process of a fine-tune on a GPU, by the estimate that training uses.

    Args:
        plan: The plan.
        id: The artifact that training makes.
        resources: Of its job.
        amount: What it is trained on, where that is known: no sequence is longer than the longest
            row then.
        change: What to put in place of parts of its spec.

    Returns:
        None where the base's files are not here, or tell nothing, and where training goes on from
        an adapter that exists already.
    """
    artifact = plan.graph.artifacts[id]
    size = model_size(plan, artifact.reads["model"][0])
    # The shape of an adapter that training goes on from is not in the spec.
    if size is None or "start" in artifact.reads:
        return None
    spec = {**artifact.spec, **(change or {})}
    loop = spec["training"]
    row = loop["max_length_tokens"]
    if amount and not loop["packing"]:
        row = min(row, amount.longest)
    work = FineTune(
        size=size,
        adapter=adapter_of(spec["lora"], size) if spec.get("lora") else None,
        dtype=loop["dtype"],
        optimizer=loop["optim"],
        quantization=spec.get("quantization"),
    )
    least = work.memory(row, row, 1)
    per_process = max(1, loop["batch_size"] // processes(resources))
    told = number_of(resources, "micro_batch", 0)
    gpu = asked_gpu(resources)
    if gpu:
        part = (
            replace(work, shares=processes(resources)) if number_of(resources, "fsdp", 0) else work
        )
        passes = choose_passes(
            [told] if told else divisors(per_process),
            lambda way: part.memory(way.sequences * row, row, way.recomputed).total,
            lambda sequences: sequences * row,
            int(CARD_SHARE * gpu.gib * 2**30) - DEVICE_BYTES,
            # As many as of rows that lie flat: what pads them, a plan does not know.
            most=MOST_TOKENS,
        )
    else:
        usual = told or default_micro_batch(loop["max_length_tokens"], per_process, "cuda")
        passes = Passes(sequences=usual, recomputed=1)
    return Planned(
        need=work.memory(passes.sequences * row, row, passes.recomputed),
        passes=passes,
        least=least.total + DEVICE_BYTES,
    )


def processes(resources: Mapping[str, Any]) -> int:
    """Return the processes of a job that trains."""
    return process_count(number_of(resources, "gpu", 1), number_of(resources, "tasks", 1))


def number_of(resources: Mapping[str, Any], name: str, default: int) -> int:
    """Return a resource that is a number, or its text; the default where it is an expression."""
    try:
        return int(str(resources.get(name, default)))
    except ValueError:
        return default


def model_size(plan: Plan, id: str) -> ModelSize | None:
    """Return what the files of a model tell: those of its artifact, or the local ones behind it."""
    if found := there(plan, id):
        assert found.folder is not None
        return size_of(tuple(sorted(str(path) for path in found.folder.iterdir())))
    return size_of(tuple(plan.graph.artifacts[id].sources))
