"""How large an adapter on a base is: what it trains, and which inputs it keeps for it.

Apart from the base's size: a full fine-tune has none of this.
"""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from scripts.lib.adapters.modules import Modules, fits_pattern, reached, reached_parameters
from scripts.lib.train.memory import Adapted, Adapter
from scripts.lib.train.model_size import OUTPUTS, ModelSize

# Files of a mixture that hold experts one by one -> the parameter that they are in memory.
FUSED = {
    **dict.fromkeys(("gate_proj", "up_proj", "w1", "w3"), "gate_up_proj"),
    **dict.fromkeys(("down_proj", "w2"), "down_proj"),
}
FUSED_DIMENSIONS = 3  # experts, and two of each


def adapter_of(lora: Mapping[str, Any], size: ModelSize) -> Adapter:
    """Return what the memory of a training follows from.

    Args:
        lora: The adapter's shape, as a run's spec holds it.
        size: The base.
    """
    return Adapter(
        parameters=lora_parameters(lora, size),
        layers=tuple(adapted(lora, size)),
        drops=bool(lora["dropout"]),
        use_dora=lora["use_dora"],
        trains_output=bool(set(lora["modules_to_save"] or ()) & set(OUTPUTS)),
    )


def adapted(lora: Mapping[str, Any], size: ModelSize) -> list[Adapted]:
    """Return the layers that an adapter reaches, but for experts.

    Args:
        lora: Its shape, as a run's spec holds it.
        size: The base.
    """
    shape, layers = SimpleNamespace(**lora), size.layers(inner=True)
    others = size.layers(inner=False)
    found = []
    for name in reached(shape, Modules(linear=list(layers), others=others)):
        outer, inner = (layers | others)[name]
        ranks = [rank for at, rank in lora["rank_pattern"].items() if fits_pattern(at, name)]
        found.append(Adapted(inputs=inner, outputs=outer, rank=ranks[0] if ranks else lora["r"]))
    return found


def lora_parameters(lora: Mapping[str, Any], size: ModelSize) -> int:
    """Return the parameters that an adapter trains: r x (in + out) of each layer that it reaches.

    Of DoRA a magnitude for each output, and whole modules and experts, come on top. Biases and the
    rows of new tokens are not counted.

    Args:
        lora: Its shape, as a run's spec holds it.
        size: The base.
    """
    others = size.layers(inner=False)
    count = 0
    for one in adapted(lora, size):
        count += one.rank * (one.inputs + one.outputs)
        count += one.outputs if lora["use_dora"] else 0
    for saved in lora["modules_to_save"] or ():
        whole = [
            math.prod(one)
            for name, one in size.tensors.items()
            if f".{name.rpartition('.')[0]}.".find(f".{saved}.") >= 0
        ]
        tied = [outer * inner for outer, inner in others.values()] if saved in OUTPUTS else []
        count += sum(whole) or sum(tied[:1])
    return count + _on_experts(SimpleNamespace(**lora), size)


def _on_experts(shape: Any, size: ModelSize) -> int:
    """Return the parameters that an adapter puts on a mixture's experts: r x (in + out) of each.

    In memory they are fused, gate and up as one; files hold them so, or one by one.
    """
    wanted: dict[tuple[str, str], tuple[int, int]] = {}
    for tensor, sizes in size.tensors.items():
        above, mark, own = tensor.partition(".experts.")
        number, _, projection = own.removesuffix(".weight").rpartition(".")
        if not mark or len(sizes) not in (2, 3) or own.endswith("_bias"):
            continue
        name = f"{above}.experts.{FUSED.get(projection, projection)}"
        experts = sizes[0] if len(sizes) == FUSED_DIMENSIONS else 1
        outputs = wanted.get((name, number), (0, 0))[1]
        wanted[name, number] = experts * sizes[-1], outputs + experts * sizes[-2]
    names = list(dict.fromkeys(name for name, _ in wanted))
    reach = set(reached_parameters(shape, Modules(linear=[], parameters=names, experts=names)))
    count = 0
    for (name, _), sums in wanted.items():
        ranks = [rank for at, rank in shape.rank_pattern.items() if fits_pattern(at, name)]
        count += (ranks[0] if ranks else shape.r) * sum(sums) if name in reach else 0
    return count
