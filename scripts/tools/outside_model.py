"""What a scoring job does beside its model's forward passes: by ours, and by lm-eval itself.

Both ask five-shot questions of a tiny random model behind a real tokenizer. Ours is a whole
scoring job, from its spec to its files, weights and tokenizer loaded, prompts built and encoded,
answers weighed, kept in the journal and graded; only the model's `forward` is left out. lm-eval's
is `simple_evaluate` over its own task, without all that its `hf` does with tokens: neither
`forward` nor what is computed from logits counts, nor what it does once for each call.

The clock is the processor time of this process.
"""

import functools
import importlib.util
import io
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
import yaml
from datasets import Dataset, DatasetDict
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import LlamaConfig, LlamaForCausalLM

from scripts.lib.benchmarks.mmlu.questions import read_subject
from scripts.lib.questions.prompts import load_tokenizer
from scripts.lib.questions.rows import Row
from scripts.lib.questions.spec import ScoreSpec
from scripts.lib.score.scoring import Part, score_benchmark
from scripts.tools.bench import Figure

_SHOTS = 5
_WEIGHTS = "*.safetensors"
# lm-eval is asked so many questions of a subject, after one that warms it up.
_SAMPLE = 40


def outside_figures(folder: Path, data: Path, subjects: Sequence[str]) -> list[Figure]:
    """Return the milliseconds for each question, over whole subjects.

    Args:
        folder: Model folder, of which the tokenizer is taken.
        data: Folder of MMLU.
        subjects: Whose questions are asked.
    """
    with tempfile.TemporaryDirectory() as made:
        model = _tiny_model(folder, Path(made) / "model")
        ours, asked = _ours(model, data, subjects, Path(made))
        with redirect_stderr(io.StringIO()):  # its progress bars
            theirs = _theirs(model, data, subjects)
    return [
        Figure("outside_ms_per_question", 1000 * ours / asked, "ms"),
        Figure("lm_eval_outside_ms_per_question", 1000 * theirs, "ms"),
    ]


def _tiny_model(folder: Path, out: Path) -> Path:
    """Write a random model of one narrow layer with the tokenizer of another."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns(_WEIGHTS, "*.index.json"))
    tokenizer = load_tokenizer(folder, chat_template=False)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32768,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(out)
    return out


def _ours(model: Path, data: Path, subjects: Sequence[str], made: Path) -> tuple[float, int]:
    """Return the seconds that a job over subjects takes, and how many questions it asks."""
    parts = [Part(_spec(name), made / "out" / name, made / "scratch" / name) for name in subjects]
    for part in parts:
        part.out.mkdir(parents=True)
    with _forward_seconds(LlamaForCausalLM) as inside:
        begun = time.process_time()
        facts = list(score_benchmark(parts, model, data, batch_size=0))
        seconds = time.process_time() - begun - sum(inside)
    return seconds, sum(int(fact["n"]) for fact in facts)


def _spec(subject: str) -> ScoreSpec:
    return ScoreSpec(
        kind="mmlu",
        subject=subject,
        shots=_SHOTS,
        chat_template=False,
        limit=None,
        dtype="float32",
        max_new_tokens=None,
        on_long_prompt="error",
        backend="shared-prefix",
    )


@contextmanager
def _forward_seconds(kind: type[Any]) -> Iterator[list[float]]:
    """Yield a list that gets the processor time of every forward pass of a kind of model."""
    found: list[float] = []
    own = kind.forward

    @functools.wraps(own)
    def timed(*args: Any, **options: Any) -> Any:
        begun = time.process_time()
        try:
            return own(*args, **options)
        finally:
            found.append(time.process_time() - begun)

    kind.forward = timed
    try:
        yield found
    finally:
        kind.forward = own


class _NoModel(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's `hf` model that finds every choice as likely as any other."""

    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        return [(-1.0, False)] * len(requests)


def _theirs(model: Path, data: Path, subjects: Sequence[str]) -> float:
    """Return the seconds that lm-eval takes for each further question of subjects."""
    lm = _NoModel(pretrained=str(model), dtype="float32", batch_size=16, device="cpu")
    rows = {name: read_subject(data, name, shots=_SHOTS, limit=None) for name in subjects}
    few, many = (
        {name: (test[:most], dev) for name, (test, dev) in rows.items()}
        for most in (1, 1 + _SAMPLE)
    )
    further = sum(len(test) for test, _ in many.values()) - len(subjects)
    return (_seconds_of_lm_eval(lm, many) - _seconds_of_lm_eval(lm, few)) / max(1, further)


def _seconds_of_lm_eval(lm: Any, rows: Mapping[str, tuple[Sequence[Row], Sequence[Row]]]) -> float:
    tasks = [_lm_eval_task(subject, test, dev) for subject, (test, dev) in rows.items()]
    begun = time.process_time()
    simple_evaluate(
        lm,
        tasks=tasks,
        num_fewshot=_SHOTS,
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    return time.process_time() - begun


def _lm_eval_task(subject: str, test: Sequence[Row], dev: Sequence[Row]) -> Mapping[str, Any]:
    """Return lm-eval's own task for an MMLU subject, over local rows."""
    package = importlib.util.find_spec("lm_eval")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("lm-eval is not installed: run `make env`")
    tasks = Path(package.submodule_search_locations[0]) / "tasks" / "mmlu" / "default"
    task = yaml.safe_load((tasks / "_default_template_yaml").read_text(encoding="utf-8"))
    task |= yaml.safe_load((tasks / f"mmlu_{subject}.yaml").read_text(encoding="utf-8"))
    for key in ("include", "dataset_path", "dataset_name", "tag", "metadata"):
        task.pop(key, None)
    data = DatasetDict({"test": Dataset.from_list(list(test)), "dev": Dataset.from_list(list(dev))})
    return {**task, "task": subject, "custom_dataset": lambda **_: data}
