"""The model that answers, strictly greedy, loaded when the first question is really asked.

It is one of lm-eval's: `shared-prefix` is this project's own (`scripts.lib.score.shared_prefix`),
`hf` the one that it is made from, in batches that fit (`scripts.lib.score.fitted_hf`). `vllm` runs
on GPUs only; it could not be run where it was written, and is unproven.
"""

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from scripts.lib.data.ends import stop_tokens
from scripts.lib.errors import ScoreError
from scripts.lib.machine.device import compute_device, computes_bfloat16, visible_gpus
from scripts.lib.machine.out_of_memory import first_line, is_out_of_memory
from scripts.lib.questions.question import Answer, Question
from scripts.lib.questions.text_encoder import TextEncoder

# Tokens of the context that must stay free: lm-eval's vLLM model cuts a prompt from the left that
# leaves less.
_KEPT_BY_VLLM = 2

_MORE_MEMORY = (
    "Give the job a GPU, or a node, with more memory, or score in bfloat16 (`dtype` of the"
    " benchmark); what was answered is kept."
)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """What a back end loads, and how.

    Attributes:
        model: Hugging Face model folder.
        adapter: Adapter folder to put on the model, whose tokenizer counts then, or None.
        tokenizer: The tokenizer of what is scored, loaded.
        dtype: Precision of weights and arithmetic.
        batch_size: Most sequences per forward pass where they are not packed by tokens; 0 for as
            many as memory holds.
        ends: Texts that end an answer beside the model's own end tokens.
        context: How many tokens the model reads.
        texts: What that tokenizer has encoded already, for a back end that `takes_tokens`.
    """

    model: Path
    adapter: Path | None
    tokenizer: Any
    dtype: str
    batch_size: int
    ends: Sequence[str]
    context: int
    texts: TextEncoder | None = None


def check_backend(backend: str) -> None:
    """Hold the installed back end against the planned one, where no lock pins it.

    Args:
        backend: `shared-prefix`, `hf` or `vllm==VERSION`.

    Raises:
        ScoreError: It is another version than the plan's, or none.
    """
    _, _, version = backend.partition("==")
    if not version:
        return
    try:
        installed = importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        installed = None
    if installed != version:
        raise ScoreError(
            f"This job was planned for vllm {version}, but its environment has"
            f" {installed or 'none'}. Install that"
            " version there, or start the workflow again from this environment."
        )


def context_of(backend: str, context: int) -> int:
    """Return how many tokens of a model's *context* a prompt and its answer may fill."""
    return context - _KEPT_BY_VLLM if _is_vllm(backend) else context


def takes_tokens(backend: str) -> bool:
    """Return whether a back end takes the tokens of a text from who has encoded it."""
    return backend == "shared-prefix"


def load_backend(backend: str, loading: Loading) -> Any:
    """Return one of lm-eval's models, loaded.

    Args:
        backend: `shared-prefix`, `hf` or `vllm==VERSION`.
        loading: What it loads.

    Raises:
        ScoreError: The model does not fit into memory, or vLLM cannot load the adapter.
    """
    try:
        return _load_vllm(loading) if _is_vllm(backend) else _load_torch(backend, loading)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ScoreError(
            f"Memory ran out while the model was loaded in {loading.dtype}"
            f" ({first_line(error)}). {_MORE_MEMORY}"
        ) from error


def _is_vllm(backend: str) -> bool:
    return backend.startswith("vllm==")


def _load_torch(backend: str, loading: Loading) -> Any:
    given: dict[str, Any] = {}
    if backend == "hf":
        from scripts.lib.score.fitted_hf import FittedHFLM as Model
    else:
        from scripts.lib.score.shared_prefix import SharedPrefixLM as Model

        given["texts"] = loading.texts
    if loading.dtype == "bfloat16" and not computes_bfloat16():
        print(
            "this processor has no arithmetic for bfloat16: its products are computed in float32"
            " and rounded",
            file=sys.stderr,
        )
    lm = Model(
        pretrained=str(loading.model),
        backend="causal",
        tokenizer=loading.tokenizer,
        dtype=loading.dtype,
        batch_size=loading.batch_size or "auto",
        device=compute_device(),
        trust_remote_code=False,
        **given,
    )
    if loading.adapter:
        from scripts.lib.merge.unmerged import put_on  # PEFT, which a plain model does not need

        put_on(lm.model, loading.adapter)
    # Only the end tokens are kept: a published generation config may ask for sampling or for a
    # repetition penalty, and the protocol says greedy.
    declared = lm.model.generation_config.eos_token_id
    lm.model.generation_config = GenerationConfig(
        # lm-eval stops a whole batch on a text, and lets rows that are done babble on until then;
        # what they add is not cut off when the text is a special token, so generate() must know it.
        eos_token_id=stop_tokens(loading.tokenizer, declared, loading.ends),
        pad_token_id=loading.tokenizer.pad_token_id,
    )
    return lm


def _load_vllm(loading: Loading) -> Any:
    from lm_eval.models.vllm_causallms import VLLM
    from peft import LoraConfig

    adapter: dict[str, Any] = {}
    if loading.adapter:
        config = LoraConfig.from_pretrained(str(loading.adapter))
        if config.trainable_token_indices:
            raise ScoreError(
                f"The adapter in {loading.adapter} trains rows of the embedding (control tokens"
                " that its template added), which vLLM cannot put on a model. Merge the run"
                " (`merge: true`), or score it with `backend: hf`."
            )
        adapter = {"lora_local_path": str(loading.adapter), "max_lora_rank": config.r}
    return VLLM(
        pretrained=str(loading.model),
        tokenizer=str(loading.adapter or loading.model),
        dtype=loading.dtype,
        tensor_parallel_size=max(1, visible_gpus(os.environ)),
        max_model_len=loading.context,
        **adapter,
    )


# Of no meaning; lm-eval's own default.
_SEED = 1234


class Respondent:
    """One of lm-eval's models and the questions that it is asked."""

    def __init__(self, backend: str, loading: Loading) -> None:
        """Keep what loading needs.

        Args:
            backend: Which model of lm-eval asks.
            loading: What it loads.
        """
        self._backend = backend
        self._loading = loading
        self._lm: Any = None

    @property
    def attention(self) -> list[str]:
        """By what log-likelihoods were attended to so far, where the back end tells."""
        return sorted(getattr(self._lm, "attention", ()))

    def answer(self, block: Sequence[Question]) -> list[Answer]:
        """Ask a block of questions, those of a kind together.

        Raises:
            ScoreError: Memory runs out over a single question, or over the weights.
        """
        if self._lm is None:
            self._lm = load_backend(self._backend, self._loading)
        # Some tasks of lm-eval ask for sampled answers. A block draws the same ones whether or not
        # the job was stopped before it.
        torch.manual_seed(_SEED)
        requests = [request for question in block for request in question.requests]
        replies: list[Any] = [None] * len(requests)
        for kind in dict.fromkeys(request.request_type for request in requests):
            places = [at for at, request in enumerate(requests) if request.request_type == kind]
            # lm-eval names its request types after the methods that answer them.
            ask = getattr(self._lm, kind)
            try:
                found = ask([requests[at] for at in places], disable_tqdm=True)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise ScoreError(
                    f"Memory ran out over a single question of {block[0].subject}"
                    f" ({first_line(error)}). {_MORE_MEMORY}"
                ) from error
            for at, reply in zip(places, found, strict=True):
                replies[at] = reply
        heard = iter(replies)
        return [q.grade(q, [next(heard) for _ in q.requests]) for q in block]
