"""Fine-tune all weights of a model.

    train_model(spec, model, shards, out, scratch=scratch, threads=8, micro_batch=None)

Weights are trained in float32, whatever the base is stored in: at the rates of a full fine-tune a
step moves a weight by less than half the distance between two numbers of bfloat16, and would be
rounded away (Micikevicius et al., https://arxiv.org/abs/1710.03740, section 3.1). What is
multiplied is bfloat16 where the spec says so. Each tensor is rounded once, when it is saved in the
dtype that the base has it in.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from peft import LoraConfig
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from scripts.lib.data.stops import settings_of, write_stops
from scripts.lib.errors import TrainingError
from scripts.lib.machine.device import compute_device, computes_bfloat16
from scripts.lib.model_files import quantisation_of
from scripts.lib.train.attention import choose_attention
from scripts.lib.train.callbacks import say
from scripts.lib.train.loop import LoopSpec, check_one_gpu
from scripts.lib.train.loss_verdict import LossVerdict
from scripts.lib.train.memory import (
    FLOAT32,
    OPTIMIZER_BYTES,
    checkpoint_bytes,
    training_bytes,
)
from scripts.lib.train.mixture import Portion, portions_of
from scripts.lib.train.model_size import ModelSize
from scripts.lib.train.new_tokens import start_rows
from scripts.lib.train.optimization import LORAPLUS_LR_EMBEDDING, keeps_best
from scripts.lib.train.sharding import weights_in
from scripts.lib.train.training import fine_tune

CONFIG = "config.json"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Name in a safetensors file -> dtype, of weights that can be trained."""

REMEDIES: Mapping[LossVerdict, str] = {
    "memorising": "Train for fewer epochs, lower learning_rate, add rows, or train an adapter"
    " (leave out lora: null); remove duplicate rows.",
    "overfitting": "Train for fewer epochs or set early_stopping_patience; lower learning_rate, add"
    " rows, or train an adapter (leave out lora: null).",
    "no_learning": "Raise learning_rate (1e-5 to 5e-5 is usual for a full fine-tune), train longer,"
    " and check in the shards that the answers are trained on.",
    "underfitting": "Train for more epochs or steps, or raise learning_rate: the scores would gain"
    " by what the loss has yet to fall.",
}
"""What to do about a verdict, where other words are right than for an adapter."""

WITHOUT_ADAPTER: Mapping[str, Any] = {
    "loraplus_lr_ratio": None,
    "loraplus_lr_embedding": LORAPLUS_LR_EMBEDDING,
}
"""What a training of adapters can be told and a full fine-tune has not."""


@dataclass(frozen=True, kw_only=True)
class FullSpec:
    """What decides the bytes of a model that is trained as a whole, beside base and shards."""

    training: LoopSpec
    mixture: Sequence[Portion] = ()

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Self:
        """Build the spec from nested JSON objects."""
        return cls(
            training=LoopSpec(**mapping["training"], **WITHOUT_ADAPTER),
            mixture=portions_of(mapping.get("mixture", ())),
        )


def train_model(
    spec: FullSpec, model: Path, shards: Path | Sequence[Path], out: Path, **execution: Any
) -> dict[str, Any]:
    """Train all weights of a model and write it to *out*, complete; see `fine_tune`.

    Tokenizer and chat template are those of the shards, config and generation config the base's;
    the latter names, too, where the template ends an answer.

    Args:
        spec: How to train.
        model: Folder of the base model.
        shards: Folder of rendered shards, with `tokenizer/`; of a mixture one for each dataset.
        out: Empty folder for the results.
        **execution: Keyword arguments of `fine_tune`.

    Returns:
        Facts of `fine_tune`, and: parameters, saved_dtype, stops (as of a merged model).

    Raises:
        TrainingError: If spec, model and shards do not fit, memory or disk do not suffice, or the
            job was told to end.
    """
    return fine_tune(FullTuning(spec), model, shards, out, **execution)


@dataclass(frozen=True)
class FullTuning:
    """All weights are trained; see `Tuning`."""

    spec: FullSpec

    @property
    def loop(self) -> LoopSpec:
        """How long, how fast and on what is trained."""
        return self.spec.training

    @property
    def mixture(self) -> Sequence[Portion]:
        """What is taken of each dataset; empty where all of one is."""
        return self.spec.mixture

    @property
    def arithmetic(self) -> str:
        """Dtype that is multiplied in."""
        return self.loop.dtype if computes_bfloat16() else "float32"

    @property
    def autocast(self) -> bool:
        """Whether weights are cast to bfloat16 pass by pass."""
        return self.arithmetic == "bfloat16"

    def adapter_on(self, size: ModelSize) -> None:
        """Return none: all weights are trained."""
        return

    @property
    def quantization(self) -> None:
        """A quantised base is refused."""
        return

    def check(self, model: Path, scratch: Path) -> None:
        """Refuse a quantised base, and a disk that holds no checkpoint."""
        check_one_gpu("train_model")
        if how := quantisation_of(json.loads((model / CONFIG).read_text(encoding="utf-8"))):
            raise TrainingError(
                f"{model.name} is quantised ({how}), and weights that are must not be trained. Name"
                " the model that is not, or train an adapter on it (leave out lora: null)."
            )
        best = keeps_best(vars(self.loop))
        _check_room(model, scratch, OPTIMIZER_BYTES[self.loop.optim], best=best)

    def kept_bytes(self, model: Path) -> int:
        """Return the bytes of weights, their copies, gradients and the optimizer's state."""
        optimizer = OPTIMIZER_BYTES[self.loop.optim]
        need = training_bytes(
            trainable=weights_in(model), dtype=self.loop.dtype, optimizer=optimizer
        )
        return need.fixed

    def load(self, model: Path) -> PreTrainedModel:
        """Load the base in float32, exactly."""
        config = AutoConfig.from_pretrained(model)
        base = AutoModelForCausalLM.from_pretrained(
            model,
            dtype=torch.float32,
            attn_implementation=choose_attention(config, compute_device(), self.arithmetic),
        )
        # Checkpoints write it, which refuses what a base may say and nobody reads there.
        base.generation_config = GenerationConfig()
        return base

    def adapter(
        self, base: PreTrainedModel, tokens: Sequence[int], known: int
    ) -> LoraConfig | None:
        """Give new tokens rows, which are trained as all others are; there is no adapter."""
        if tokens:
            start_rows(base, self.loop.seed, tokens, known)
        return None

    @property
    def remedies(self) -> Mapping[LossVerdict, str]:
        """What to do where there is no adapter to change."""
        return REMEDIES

    def begin(
        self, model: PreTrainedModel, scratch: Path, batches: Sequence[Mapping[str, Any]]
    ) -> None:
        """Do nothing: what is needed is there."""

    def kept(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        """Return all weights, each storage once."""
        found: dict[int, tuple[str, torch.Tensor]] = {}
        for name, tensor in model.state_dict().items():
            found.setdefault(tensor.data_ptr(), (name, tensor))
        return {name: tensor.contiguous() for name, tensor in found.values()}

    def put_back(self, model: PreTrainedModel, kept: Mapping[str, torch.Tensor]) -> None:
        """Put weights back; what shares storage with them follows."""
        model.load_state_dict(kept, strict=False)

    def save(
        self, model: PreTrainedModel, base: Path, scratch: Path, out: Path, prompts: Sequence[Any]
    ) -> dict[str, Any]:
        """Write a complete model, each tensor rounded to the dtype that the base has it in."""
        own = out / GENERATION_CONFIG_NAME  # of the shards' tokenizer, where it has one
        source = out if own.is_file() else base
        settings = settings_of(source)
        text = (source / own.name).read_bytes() if (source / own.name).is_file() else None
        dtypes = _stored_dtypes(base)
        ((usual, _),) = Counter(dtypes.values()).most_common(1)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(dtypes.get(name, usual))
        model.save_pretrained(out)
        (out / CONFIG).write_bytes(_config(base, model))
        own.unlink(missing_ok=True)
        if text is not None:
            own.write_bytes(text)
        return {
            "parameters": model.num_parameters(),
            "saved_dtype": str(usual).removeprefix("torch."),
            "stops": write_stops(settings, out),
        }


def _stored_dtypes(model: Path) -> dict[str, torch.dtype]:
    """Return the dtype of each weight that can be trained as a folder has it, by name."""
    found: dict[str, torch.dtype] = {}
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            names = weights.keys()
            told = {name: weights.get_slice(name).get_dtype() for name in names}
        found |= {name: DTYPES[dtype] for name, dtype in told.items() if dtype in DTYPES}
    return found


def _config(base: Path, model: PreTrainedModel) -> bytes:
    """Return the base's config.json with the vocabulary that the model has now.

    It is not what the model in memory says: training changes some of that.
    """
    text = (base / CONFIG).read_bytes()
    config = json.loads(text)
    rows = model.get_input_embeddings().weight.shape[0]
    for part in filter(None, (config, config.get("text_config"))):
        if "vocab_size" in part:
            part["vocab_size"] = rows
    return text if config == json.loads(text) else (json.dumps(config, indent=2) + "\n").encode()


def _check_room(model: Path, scratch: Path, optimizer: int, *, best: bool) -> None:
    """Refuse a disk that does not hold what a training of this model leaves on the way.

    These are two checkpoints, of which one is whole while the other is written, and where the best
    weights are kept, those and the best ones when the checkpoint was written. An earlier start may
    have left some of that.

    Args:
        model: Folder of the base.
        scratch: Folder for checkpoints.
        optimizer: Bytes of the optimizer's state for each parameter.
        best: Whether the best weights are kept.

    Raises:
        TrainingError: If there is no room.
    """
    parameters = weights_in(model)
    checkpoint, weights = checkpoint_bytes(parameters, optimizer), parameters * FLOAT32
    needed = 2 * (checkpoint + (weights if best else 0))
    place = next(folder for folder in (scratch, *scratch.parents) if folder.exists())
    left = sum(file.stat().st_size for file in scratch.rglob("*") if file.is_file())
    room = shutil.disk_usage(place).free + left
    say(
        f"a checkpoint of {parameters:,} parameters takes {checkpoint / 2**30:.2f} GiB of"
        f" {scratch}, which has room for {room / 2**30:.2f}"
    )
    if needed > room:
        besides = "; 4 more, twice, for the best weights" if best else ""
        raise TrainingError(
            f"{scratch} has no room for the checkpoints of a full fine-tune: two, of which one is"
            f" written while the other is whole, take {needed / 2**30:.1f} GiB (for each of"
            f" {parameters:,} parameters 4 bytes and {optimizer} of the optimizer, twice{besides}),"
            f" and {room / 2**30:.1f} GiB are free. Make room, name another folder in"
            " TUNESMITH_SCRATCH, or train an adapter."
        )
