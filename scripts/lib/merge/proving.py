"""Prove that a merged model is what base + adapter were.

    prove_merge(model, adapter, merged, out)["proof"]["passed"]

Two looks at the weights, neither of which uses the merger's arithmetic. PEFT merges the adapter
anew, in float32, and each merged weight must be that sum, rounded once. And base + adapter and the
merged model, both computed in float32, must answer a few prompts alike: what is left between them
is the rounding of the merged weights to their dtype. The files are looked at as well: tensors,
vocabulary, tokenizer, stop tokens. One model is in memory at a time, in float32; one that does not
fit is paged from disk.
"""

import gc
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PreTrainedModel

from scripts.lib.adapters.lora import PROMPTS_FILE
from scripts.lib.errors import MergeError
from scripts.lib.merge.float32_models import load_float32, load_tuned, memory_name, meta_model
from scripts.lib.merge.proof_files import (
    Check,
    check_files,
    is_untied,
    main_dtype,
    make_check,
    stored_tensors,
)
from scripts.lib.merge.safetensors_files import StoredTensor, read_bytes, read_tensor

# How far a merged weight may be from PEFT's float32 sum, in steps of its dtype: rounding once costs
# half a step; the rest is for sums in another order, which in float32 are a few steps apart.
MAX_ROUNDING_STEPS: Mapping[str, float] = {"F32": 100.0, "F16": 0.75, "BF16": 0.75}
# A step is taken at the size of the number, but of no less than this part of the largest one:
# where W and the update cancel out, what is left has the errors of numbers far larger.
SMALLEST_PART = 0.01
# Logits of a merged model against base + adapter, in float32, by the dtype of the stored weights.
# In bfloat16 a right merge of SmolLM2-135M (r 8, all layers, trained until the base was 26 logits
# and 1.5 nats away) gave 0.76, 0.0016 nats and 0.97; with alpha doubled 24, 1.3 nats and 0.45. The
# limits leave room for larger models, since the check of the weights is the sharper one: a scale
# that is wrong by 5 % passes here and fails there. float16 rounds 8 times finer; in float32 only
# the order of sums differs.
MAX_LOGIT_DIFF: Mapping[str, float] = {"F32": 5e-3, "F16": 0.4, "BF16": 2.5}
# Mean divergence of the next-token distributions, in nats.
MAX_MEAN_KL: Mapping[str, float] = {"F32": 1e-6, "F16": 1e-3, "BF16": 2e-2}
# Part of the positions where the likeliest token is the same, 0-1.
MIN_TOP1_AGREEMENT: Mapping[str, float] = {"F32": 0.995, "F16": 0.97, "BF16": 0.9}


def prove_merge(
    model: Path,
    adapter: Path,
    merged: Path,
    out: Path,
    *,
    free: int | None = None,
) -> dict[str, Any]:
    """Compare *merged* with *model* + *adapter* and write `proof.json` to *out*.

    A failed check is a finding, not an error.

    Args:
        model: Folder of the base model.
        adapter: Folder of the adapter, with `prompts.json`.
        merged: Folder of the merged model.
        out: Empty folder, with room for twice the model in float32 where that exceeds *free*.
        free: Free memory in bytes; None asks the machine.

    Returns:
        Facts: {"proof": {"passed", "checks": [...], "numbers": {...}}}.

    Raises:
        MergeError: If a weight file cannot be read, the adapter has no prompts, or it belongs to
            another base.
    """
    checks = check_files(model, adapter, merged)
    numbers: dict[str, Any] = {}
    if checks[0]["passed"]:  # else there is nothing to compare tensor by tensor
        prompts = _read_prompts(adapter)
        expected, base_logits, weights = _expectation(model, adapter, merged, out, prompts, free)
        loads, got = _answers(model, merged, prompts, out, free)
        numbers = _logit_numbers(expected, got, base_logits)
        checks += [*weights, loads]
        checks += _check_logits(numbers, main_dtype(stored_tensors(merged)))
    proof = {
        "passed": all(check["passed"] for check in checks),
        "checks": checks,
        # JSON has no word for what is no number.
        "numbers": {k: v if math.isfinite(v) else None for k, v in numbers.items()},
    }
    (out / "proof.json").write_text(json.dumps(proof, indent=1) + "\n")
    return {"proof": proof}


def _read_prompts(adapter: Path) -> list[list[int]]:
    """Return the run's own prompts, as token ids."""
    file = adapter / PROMPTS_FILE
    prompts = json.loads(file.read_text()) if file.is_file() else []
    if not any(prompts):
        raise MergeError(
            f"{adapter} has no {PROMPTS_FILE}: lists of token ids that the proof feeds to the"
            " models. Train the adapter again, or write some."
        )
    return [ids for ids in prompts if ids]


def _expectation(
    model: Path,
    adapter: Path,
    merged: Path,
    out: Path,
    prompts: list[list[int]],
    free: int | None,
) -> tuple[torch.Tensor, torch.Tensor, list[Check]]:
    """Return the logits of base + adapter and of the base, and the checks of each weight.

    All in float32, from weights as stored; PEFT's model is gone when this returns.
    """
    with TemporaryDirectory(dir=out) as scratch:
        tuned = load_tuned(model, adapter, scratch=Path(scratch), free=free)
        with_adapter = _logits(tuned, prompts)
        with tuned.disable_adapter():
            base = _logits(tuned, prompts)
        if is_untied(model, merged):
            del tuned
            gc.collect()
            # The files of the first are written anew.
            tuned = load_tuned(model, adapter, untie=True, scratch=Path(scratch), free=free)
        checks = check_weights(tuned.merge_and_unload(), model, merged, out)
        del tuned
        gc.collect()
    return with_adapter, base, checks


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
    with TemporaryDirectory(dir=scratch) as folder:
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


def _answers(
    model: Path, merged: Path, prompts: list[list[int]], out: Path, free: int | None
) -> tuple[Check, torch.Tensor]:
    """Load the merged model as any user does; return whether all was found, and its logits."""
    with TemporaryDirectory(dir=out) as scratch:
        loaded, odd = load_float32(merged, Path(scratch), free)
        check = _check_parameters(loaded, odd, model, merged)
        return check, _logits(loaded, prompts)


def _check_parameters(loaded: PreTrainedModel, odd: list[str], model: Path, merged: Path) -> Check:
    """All that is on disk is in the loaded model, but for what the base's files hold besides."""
    stored, found = _numbers(merged), loaded.num_parameters()
    besides = _numbers(model) - meta_model(model).num_parameters()
    told = f"{stored:,} parameters on disk, {found:,} in the loaded model"
    if besides:  # buffers of old files, or a tied weight that is stored twice
        told += f"; {besides:,} of the base's are no parameters either"
    if odd:
        told += f"; missing, unexpected or of another shape: {', '.join(sorted(odd)[:3])}"
    return make_check("parameters", stored - found == besides and not odd, f"{told}.")


def _numbers(folder: Path) -> int:
    """Return how many numbers the weight files of a model hold."""
    return sum(math.prod(tensor.shape) for tensor in stored_tensors(folder).values())


def _logits(model: PreTrainedModel, prompts: list[list[int]]) -> torch.Tensor:
    """Return the logits of all positions of all *prompts*: (positions, vocabulary).

    Padding to the right needs no mask: attention looks to the left only.
    """
    lengths = torch.tensor([len(ids) for ids in prompts])
    longest = int(lengths.max())
    rows = torch.tensor([ids + [0] * (longest - len(ids)) for ids in prompts])
    real = torch.arange(longest)[None] < lengths[:, None]
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=rows, use_cache=False).logits
    return logits[real]


def _logit_numbers(
    expected: torch.Tensor, got: torch.Tensor, base: torch.Tensor
) -> dict[str, float | int]:
    """Return how far *got* is from *expected*, and how far *base* is, for scale."""
    wanted = expected.log_softmax(-1)
    return {
        "positions": len(expected),
        "max_logit_diff": (got - expected).abs().max().item(),
        "mean_kl": _mean_kl(wanted, got.log_softmax(-1)),
        "top1_agreement": (got.argmax(-1) == expected.argmax(-1)).float().mean().item(),
        "base_max_logit_diff": (base - expected).abs().max().item(),
        "base_mean_kl": _mean_kl(wanted, base.log_softmax(-1)),
        "base_top1_agreement": (base.argmax(-1) == expected.argmax(-1)).float().mean().item(),
    }


def _mean_kl(wanted: torch.Tensor, got: torch.Tensor) -> float:
    return float((wanted.exp() * (wanted - got)).sum(-1).mean())


def _check_logits(numbers: Mapping[str, Any], dtype: str) -> list[Check]:
    """The merged model answers as base + adapter, within the limits of its dtype."""
    difference, kl = numbers["max_logit_diff"], numbers["mean_kl"]
    agreement = numbers["top1_agreement"]
    limits = MAX_LOGIT_DIFF[dtype], MAX_MEAN_KL[dtype], MIN_TOP1_AGREEMENT[dtype]
    scale = f"over {numbers['positions']} positions; the base itself is"
    return [
        make_check(
            "max_logit_diff",
            difference <= limits[0],
            f"{difference:.3g} (limit {limits[0]:.3g}) {scale} {numbers['base_max_logit_diff']:.3g}"
            " away.",
        ),
        make_check(
            "mean_kl",
            kl <= limits[1],
            f"{kl:.3g} nats (limit {limits[1]:.3g}) {scale} {numbers['base_mean_kl']:.3g} away.",
        ),
        make_check(
            "top1_agreement",
            agreement >= limits[2],
            f"{agreement:.4f} (limit {limits[2]:.4f}) {scale} at"
            f" {numbers['base_top1_agreement']:.4f}.",
        ),
    ]
