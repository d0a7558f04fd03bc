"""LoRA on the fused experts of a mixture, taken apart for files that hold experts one by one.

In memory, all experts of a layer are one parameter, (experts, outputs, inputs), with gate and up on
each other; PEFT puts one A, (experts * r, inputs), and one B, (outputs, r * experts), on it. Expert
e gets B[:, e::experts] @ A[e * r : (e + 1) * r]. Files of Mixtral, Qwen-MoE and their kin hold a
matrix for each expert and projection.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from scripts.lib.merge.adapter import FUSED, ExpertPart, Update

# Names in files -> the fused parameter, and which half of its outputs they are.
PROJECTIONS: Mapping[str, tuple[str, int | None]] = {
    **{"gate_proj": ("gate_up_proj", 0), "w1": ("gate_up_proj", 0)},
    **{"up_proj": ("gate_up_proj", 1), "w3": ("gate_up_proj", 1)},
    **{"down_proj": ("down_proj", None), "w2": ("down_proj", None)},
}
_STORED = re.compile(r"(.+?\.layers\.\d+)\.(?:.+\.)?experts\.(\d+)\.(\w+)\.weight")
_FUSED = re.compile(r"(.+?\.layers\.\d+)\.(?:.+\.)?experts\.(gate_up_proj|down_proj)")


def spread(updates: Mapping[str, Update], stored: Iterable[str]) -> dict[str, Update]:
    """Return *updates* with those of fused experts as updates of the tensors of single experts.

    What has no complete set of tensors among *stored* stays as it is.

    Args:
        updates: By names in memory.
        stored: Names in the base's files.
    """
    fused = {found[0]: found for name in updates if (found := _FUSED.fullmatch(name))}
    if not fused:
        return dict(updates)
    places: dict[tuple[str, str], list[tuple[str, int, int | None]]] = {}
    for name in stored:
        found = _STORED.fullmatch(name)
        if found and found[3] in PROJECTIONS:
            parameter, half = PROJECTIONS[found[3]]
            places.setdefault((found[1], parameter), []).append((name, int(found[2]), half))
    spread_out: dict[str, Update] = {}
    for name, update in updates.items():
        parts = places.get((fused[name][1], fused[name][2]), []) if name in fused else []
        experts = update.expert.count if update.expert else 0
        if parts and len(parts) == experts * FUSED[fused[name][2]]:
            spread_out |= _single(update, experts, parts)
        else:
            spread_out[name] = update
    return spread_out


def _single(
    update: Update, experts: int, parts: Iterable[tuple[str, int, int | None]]
) -> Iterator[tuple[str, Update]]:
    for name, index, half in parts:
        part = ExpertPart(count=experts, index=index, half=half)
        yield name, replace(update, expert=part, transposed=False)
