"""Compare each weight of a merged model with the sum that PEFT gets in float32."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from transformers import PreTrainedModel

from scripts.lib.merge.paged_models import memory_name
from scripts.lib.merge.proof_checks import Check, make_check
from scripts.lib.merge.proof_files import stored_tensors
from scripts.lib.merge.safetensors_files import StoredTensor, read_bytes, read_tensor

# How far a merged weight may be from PEFT's float32 sum, in steps of its dtype: rounding once costs
# half a step; the rest is for sums in another order, which in float32 are a few steps apart.
MAX_ROUNDING_STEPS: Mapping[str, float] = {"F32": 100.0, "F16": 0.75, "BF16": 0.75}
# A step is taken at the size of the number, but of no less than this part of the largest one:
# where W and the update cancel out, what is left has the errors of numbers far larger.
SMALLEST_PART = 0.01


def check_weights(
    expected: PreTrainedModel, model: Path, merged: Path, scratch: Path
) -> list[Check]:
    """Each merged weight is PEFT's float32 sum, rounded once to the stored dtype.

    A tensor that the model in memory has not (a mask or frequencies, in old files) must have the
    base's bytes.

    Args:
        expected: PEFT's merged model, in float32.
        model: Folder of the base model.
        merged: Folder of the merged model.
        scratch: A folder with room for the model in float32, for mixtures of experts only.

    Returns:
        The checks "finite" and "weights"; a failed one names a tensor.
    """
    stored, base = stored_tensors(merged), stored_tensors(model)
    sums = expected.state_dict()
    names = {name: memory_name(name, sums, expected.base_model_prefix) for name in stored}
    seen = {sums[name].data_ptr() for name in names.values() if name}  # a tied weight has two names
    if all(weight.data_ptr() in seen for weight in sums.values()):
        return _compare(stored, base, lambda name: sums.get(names[name]))
    # The files hold the experts of a mixture one by one, the model in memory holds them together.
    # It is brought to the form of the files on disk, as two models may not fit in memory.
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        expected.save_pretrained(folder)
        saved = stored_tensors(Path(folder))
        return _compare(
            stored, base, lambda name: read_tensor(saved[name]) if name in saved else None
        )


def _compare(
    stored: Mapping[str, StoredTensor],
    base: Mapping[str, StoredTensor],
    sum_of: Callable[[str], torch.Tensor | None],
) -> list[Check]:
    """Return the checks of all *stored* tensors, of which one is in memory at a time."""
    odd: list[str] = []
    broken: list[str] = []
    worst = 0.0
    for name, place in stored.items():
        exact = sum_of(name)
        if exact is None or place.dtype not in MAX_ROUNDING_STEPS:
            if name not in base or read_bytes(place) != read_bytes(base[name]):
                odd.append(name)
            continue
        tensor = read_tensor(place)
        if not bool(torch.isfinite(tensor).all()):
            broken.append(name)
        if exact.shape != tensor.shape:
            odd.append(name)
            continue
        steps = _rounding_steps(tensor, exact)
        worst = max(worst, steps)
        if not steps <= MAX_ROUNDING_STEPS[place.dtype]:  # what is no number is odd, too
            odd.append(name)
    told = f"the worst weight is {worst:.2f} rounding steps from PEFT's float32 sum"
    finite = f"{len(broken)} of {len(stored)} hold a number that is not finite"
    return [
        make_check("finite", not broken, _with_example(finite, broken)),
        make_check("weights", not odd, _with_example(f"of {len(stored)} tensors, {told}", odd)),
    ]


def _rounding_steps(stored: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the largest distance of *stored* from *exact*, in steps of the stored dtype."""
    sizes = exact.abs()
    step = sizes.clamp(min=float(sizes.max()) * SMALLEST_PART) * torch.finfo(stored.dtype).eps
    # An all-zero tensor has no step; equal numbers are none apart.
    distance = (stored.float() - exact).abs()
    return float(torch.where(distance == 0, 0.0, distance / step).max())


def _with_example(text: str, names: list[str]) -> str:
    text = text[0].upper() + text[1:]
    return f"{text}; wrong in {len(names)}, first {names[0]}." if names else f"{text}."
