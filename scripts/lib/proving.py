"""Prove that a merged model is what base + adapter were.

    prove_merge(ProofSpec(), model, adapter, merged, out)["proof"]["passed"]

Two independent looks at the weights. PEFT merges the adapter anew, in float32, and each merged
weight must be that sum, rounded once. And base + adapter and the merged model, both computed in
float32, must answer a few prompts alike: what is left between them is the rounding of the merged
weights to their dtype. The files are looked at as well: tensors, tokenizer, stop tokens.
"""

import gc
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from scripts.lib.adapters import largest_token_id, read_tensors, tokenizer_files
from scripts.lib.merging import embedding_name, read_shapes, weight_files

SAFETENSORS_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
# Logits of a merged model against base + adapter, in float32, by the dtype of the stored weights.
# In bfloat16 a right merge of SmolLM2-135M (r 8, all layers, trained until the base was 26 logits
# and 1.5 nats away) gave 0.76, 0.0016 nats and 0.97; with alpha doubled 24, 1.3 nats and 0.45. The
# limits leave room for larger models, since the check of the weights is the sharper one: a scale
# that is wrong by 5 % passes here and fails there. float16 rounds 8 times finer; in float32 only
# the order of sums differs.
MAX_LOGIT_DIFF: Mapping[str, float] = {"F32": 5e-3, "F16": 0.4, "BF16": 2.5}
MAX_MEAN_KL: Mapping[str, float] = {"F32": 1e-6, "F16": 1e-3, "BF16": 2e-2}
MIN_TOP1_AGREEMENT: Mapping[str, float] = {"F32": 0.995, "F16": 0.97, "BF16": 0.9}
# How far a merged weight may be from PEFT's float32 sum, in steps of its dtype: rounding once costs
# half a step; the rest is for sums in another order, which in float32 are a few steps apart.
MAX_ROUNDING_STEPS: Mapping[str, float] = {"F32": 100.0, "F16": 0.75, "BF16": 0.75}
# A step is taken at the size of the number, but of no less than this part of the largest one:
# where W and the update cancel out, what is left has the errors of numbers far larger.
SMALLEST_PART = 0.01


@dataclass(frozen=True, kw_only=True)
class ProofSpec:
    """What a merge has to keep; limits by the dtype of the merged weights (F32, F16, BF16).

    Args:
        max_logit_diff: Largest absolute difference of any logit.
        max_mean_kl: Mean divergence of the next-token distributions, in nats.
        min_top1_agreement: Part of the positions where the likeliest token is the same, 0-1.
    """

    max_logit_diff: Mapping[str, float] = field(default_factory=lambda: dict(MAX_LOGIT_DIFF))
    max_mean_kl: Mapping[str, float] = field(default_factory=lambda: dict(MAX_MEAN_KL))
    min_top1_agreement: Mapping[str, float] = field(
        default_factory=lambda: dict(MIN_TOP1_AGREEMENT)
    )


class Check(TypedDict):
    """One finding of a proof."""

    name: str
    passed: bool
    evidence: str


def prove_merge(
    spec: ProofSpec, model: Path, adapter: Path, merged: Path, out: Path
) -> dict[str, Any]:
    """Compare *merged* with *model* + *adapter* and write `proof.json` to *out*.

    A failed check is a finding, not an error.

    Args:
        spec: The limits.
        model: Folder of the base model.
        adapter: Folder of the adapter, with `prompts.json`.
        merged: Folder of the merged model.
        out: Empty folder.

    Returns:
        Facts: {"proof": {"passed", "checks": [...], "numbers": {...}}}.

    Raises:
        MergeError: If a weight file cannot be read.
    """
    checks = [
        _check_tensors(model, merged),
        _check_vocabulary(merged),
        _check_tokenizer(adapter, merged),
        _check_stop_tokens(model, merged),
    ]
    numbers: dict[str, Any] = {}
    if checks[0]["passed"]:  # else there is nothing to compare tensor by tensor
        prompts = json.loads((adapter / "prompts.json").read_text())
        expected, base_logits, weights = _expectation(model, adapter, merged, prompts)
        checks += weights
        got = _logits(_load(merged), prompts)
        numbers = _logit_numbers(expected, got, base_logits)
        checks += _check_logits(spec, numbers, _dtype(merged))
    proof = {
        "passed": all(check["passed"] for check in checks),
        "checks": checks,
        # JSON has no word for what is no number.
        "numbers": {k: v if math.isfinite(v) else None for k, v in numbers.items()},
    }
    (out / "proof.json").write_text(json.dumps(proof, indent=1) + "\n")
    return {"proof": proof}


def _check(name: str, passed: bool, evidence: str) -> Check:
    return {"name": name, "passed": passed, "evidence": evidence}


def _check_tensors(model: Path, merged: Path) -> Check:
    """Names, shapes and dtypes are those of the base."""
    base = {name: rest for name, *rest in read_shapes(weight_files(model))}
    after = {name: rest for name, *rest in read_shapes(weight_files(merged))}
    odd = sorted(name for name in base.keys() | after.keys() if base.get(name) != after.get(name))
    if odd:
        told = f"{len(odd)} tensors differ in name, shape or dtype, first {odd[0]}"
        return _check("tensors", False, f"{told}: base {base.get(odd[0])}, {after.get(odd[0])}.")
    return _check("tensors", True, f"{len(after)} tensors, named and shaped as in the base.")


def _check_vocabulary(merged: Path) -> Check:
    """Config and tokenizer agree with the rows of the embedding."""
    shapes = {name: shape for name, shape, _ in read_shapes(weight_files(merged))}
    name = embedding_name(shapes)
    if not name:
        return _check("vocabulary", False, "The merged model has no tensor known as embedding.")
    rows = shapes[name][0]
    config = json.loads((merged / "config.json").read_text())
    size = config.get("vocab_size", config.get("text_config", {}).get("vocab_size"))
    largest = largest_token_id(merged)
    told = f"config.json says {size}, {name} has {rows} rows, the largest token id is {largest}."
    return _check("vocabulary", size == rows and largest < rows, told)


def _check_tokenizer(adapter: Path, merged: Path) -> Check:
    """Tokenizer and chat template are byte for byte those of the adapter's run."""
    files = tokenizer_files(adapter)
    odd = [
        file.name
        for file in files
        if not (merged / file.name).is_file()
        or (merged / file.name).read_bytes() != file.read_bytes()
    ]
    if odd or not files:
        told = f"missing or not the adapter's: {', '.join(odd) or 'every file'}."
        return _check("tokenizer", False, told)
    return _check("tokenizer", True, f"{len(files)} files are byte for byte the adapter's.")


def _check_stop_tokens(model: Path, merged: Path) -> Check:
    """The padding token does not stop the model, unless it did so in the base."""
    before, after = _pad_stops(model), _pad_stops(merged)
    told = "The padding token is among the stop tokens" if after else "Padding stops nothing"
    return _check(
        "stop_tokens", not after or before, told + (", as in the base." if before else ".")
    )


def _pad_stops(folder: Path) -> bool:
    file = folder / "generation_config.json"
    source = file if file.is_file() else folder / "config.json"
    config = GenerationConfig(**json.loads(source.read_text()))
    eos = config.eos_token_id
    stops = eos if isinstance(eos, list) else [eos]
    return config.pad_token_id is not None and config.pad_token_id in stops


def _dtype(folder: Path) -> str:
    """Return the commonest dtype of the weights, as safetensors names it."""
    found = [dtype for _, _, dtype in read_shapes(weight_files(folder))]
    return max(sorted(set(found)), key=found.count)


def _load(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


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


def _expectation(
    model: Path, adapter: Path, merged: Path, prompts: list[list[int]]
) -> tuple[torch.Tensor, torch.Tensor, list[Check]]:
    """Return the logits of base + adapter and of the base, and the checks of each weight.

    All in float32, from weights as stored; PEFT's model is gone when this returns.
    """
    tuned = PeftModel.from_pretrained(_load(model), adapter).eval()
    with_adapter = _logits(tuned, prompts)
    with tuned.disable_adapter():
        base = _logits(tuned, prompts)
    checks = _check_weights(tuned.merge_and_unload(), merged)
    del tuned
    gc.collect()
    return with_adapter, base, checks


def _check_weights(expected: PreTrainedModel, merged: Path) -> list[Check]:
    """Each merged weight is PEFT's float32 sum, rounded to the stored dtype."""
    sums = expected.state_dict()
    odd: list[str] = []
    broken: list[str] = []
    worst = 0.0
    count = 0
    for name, tensor in _tensors(merged):
        count += 1
        if not bool(torch.isfinite(tensor).all()):
            broken.append(name)
        if name not in sums:
            odd.append(name)
            continue
        steps = _rounding_steps(tensor, sums[name])
        worst = max(worst, steps)
        if not steps <= MAX_ROUNDING_STEPS[SAFETENSORS_NAMES[tensor.dtype]]:  # NaN is odd, too
            odd.append(name)
    told = f"the worst weight is {worst:.2f} rounding steps from PEFT's float32 sum"
    finite = f"{len(broken)} of {count} hold a number that is not finite"
    return [
        _check("finite", not broken, _with_example(finite, broken)),
        _check("weights", not odd, _with_example(f"of {count} tensors, {told}", odd)),
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


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights of a model folder, one file in memory at a time."""
    for file in weight_files(folder):
        tensors, _ = read_tensors(file)
        yield from tensors.items()


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


def _check_logits(spec: ProofSpec, numbers: Mapping[str, Any], dtype: str) -> list[Check]:
    """The merged model answers as base + adapter, within the limits of its dtype."""
    difference, kl = numbers["max_logit_diff"], numbers["mean_kl"]
    agreement = numbers["top1_agreement"]
    limits = spec.max_logit_diff[dtype], spec.max_mean_kl[dtype], spec.min_top1_agreement[dtype]
    scale = f"over {numbers['positions']} positions; the base itself is"
    return [
        _check(
            "max_logit_diff",
            difference <= limits[0],
            f"{difference:.3g} (limit {limits[0]:.3g}) {scale} {numbers['base_max_logit_diff']:.3g}"
            " away.",
        ),
        _check(
            "mean_kl",
            kl <= limits[1],
            f"{kl:.3g} nats (limit {limits[1]:.3g}) {scale} {numbers['base_mean_kl']:.3g} away.",
        ),
        _check(
            "top1_agreement",
            agreement >= limits[2],
            f"{agreement:.4f} (limit {limits[2]:.4f}) {scale} at"
            f" {numbers['base_top1_agreement']:.4f}.",
        ),
    ]
