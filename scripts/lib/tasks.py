"""Benchmarks on disk -> checked rows -> lm-eval tasks, made in Python: no YAML, no network.

A multiple-choice benchmark has MMLU's columns in `test/{subject}.jsonl` and `dev/{subject}.jsonl`.
A user's own has any number of choices and, where it has categories, their names in the rows.
An exact-match benchmark is one `questions.jsonl`. Every row is checked here, before any model is
loaded.

The MMLU task is lm-eval's own (tasks/mmlu/default/_default_template_yaml of lm-eval 0.4.13) word
for word. It is written with functions and columns instead of Jinja because lm-eval compiles each
Jinja text anew for every question, which took longer than a GPU takes to answer it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from scripts.lib.bad_rows import FaultOf
from scripts.lib.choice_faults import MMLU_CHOICES, choice_fault, mmlu_fault
from scripts.lib.errors import ScoreError
from scripts.lib.exact_match_faults import answer_fault
from scripts.lib.question_rows import LETTERS, QUESTIONS_FILE, Row, is_subject, read_rows


def read_subject(
    benchmark: Path, subject: str, *, shots: int, limit: int | None
) -> tuple[list[Row], list[Row]]:
    """Read and check the rows of one multiple-choice subject.

    Args:
        benchmark: Folder with `test/` and `dev/`.
        subject: File stem in both.
        shots: Worked examples that the prompt will show; that many dev rows must exist.
        limit: Only the first so many test rows, or None for all.

    Returns:
        Test rows and dev rows, each `{"question", "choices": [4], "answer": 0-3}`.

    Raises:
        ScoreError: A file is missing, empty or not in MMLU's form, with file and line.
    """
    if not is_subject(subject):
        raise ScoreError(
            f"The subject {subject!r} cannot be a file name. Use letters, digits, '_', '-', '.'."
        )
    return _read_splits(benchmark, subject, mmlu_fault, shots=shots, limit=limit)


def read_own_choices(
    benchmark: Path, *, shots: int, limit: int | None
) -> list[tuple[str, str | None, list[Row], list[Row]]]:
    """Read and check a user's own multiple-choice set.

    Args:
        benchmark: Folder with `test/` and, for worked examples, `dev/`.
        shots: Worked examples that the prompt will show.
        limit: Only the first so many questions of each category, or None for all.

    Returns:
        For every category the stem of its file, its name or None, test rows and dev rows.

    Raises:
        ScoreError: A file is missing, empty or not in this form, with file and line.
    """
    found = []
    for path in sorted((benchmark / "test").glob("*.jsonl")):
        test, dev = _read_splits(benchmark, path.stem, choice_fault, shots=shots, limit=limit)
        found.append((path.stem, test[0].get("subject"), test, dev))
    if not found:
        raise ScoreError(f"{benchmark} holds no questions. Check the benchmark's source.")
    return found


def _read_splits(
    benchmark: Path,
    name: str,
    fault: FaultOf,
    *,
    shots: int,
    limit: int | None,
) -> tuple[list[Row], list[Row]]:
    test = read_rows(benchmark / "test" / f"{name}.jsonl", fault)
    dev_file = benchmark / "dev" / f"{name}.jsonl"
    dev = read_rows(dev_file, fault) if shots else []
    if len(dev) < shots:
        raise ScoreError(
            f"{dev_file} holds {len(dev)} rows, but {shots} worked examples are asked for. "
            "Lower `shots`, or add rows."
        )
    return test[:limit], dev


def read_questions(benchmark: Path, *, chat_template: bool, limit: int | None) -> list[Row]:
    """Read and check the rows of an exact-match benchmark.

    Args:
        benchmark: Folder with `questions.jsonl`.
        chat_template: Whether prompts go through the chat template; rows of `messages`, or with a
            `system` text, need it.
        limit: Only the first so many rows, or None for all.

    Returns:
        Rows `{"answer": str}` with either `prompt` (and maybe `system`) or `messages`.

    Raises:
        ScoreError: The file is missing, empty, or a row is not in this form, with file and line.
    """
    fault = partial(answer_fault, chat_template=chat_template)
    return read_rows(benchmark / QUESTIONS_FILE, fault)[:limit]


def mmlu_task(subject: str, test: Sequence[Row], dev: Sequence[Row], *, shots: int) -> Row:
    """Return lm-eval's task for one MMLU subject over rows that are already in memory.

    Args:
        subject: Its name; underscores become spaces in the prompt's first line.
        test: Rows to ask, from `read_subject`.
        dev: Rows to show as worked examples, the first `shots` in file order.
        shots: Number of worked examples.
    """
    about = subject.replace("_", " ")
    preamble = f"The following are multiple choice questions (with answers) about {about}.\n\n"
    choices = list(LETTERS[:MMLU_CHOICES])
    return _choice_task(subject, preamble, choices, test, dev, shots=shots)


def own_choice_task(
    name: str, category: str | None, test: Sequence[Row], dev: Sequence[Row], *, shots: int
) -> Row:
    """Return a task like MMLU's for one category of a user's own set.

    Args:
        name: A name for it.
        category: What the questions are about, or None to leave it unsaid.
        test: Rows to ask, from `read_own_choices`.
        dev: Rows to show as worked examples, the first `shots` in file order.
        shots: Number of worked examples.
    """
    about = "" if category is None else f" about {category}"
    preamble = f"The following are multiple choice questions (with answers){about}.\n\n"
    return _choice_task(name, preamble, _letters, test, dev, shots=shots)


def _choice_task(
    subject: str,
    preamble: str,
    choices: list[str] | Callable[[Row], list[str]],
    test: Sequence[Row],
    dev: Sequence[Row],
    *,
    shots: int,
) -> Row:
    splits = {"test": _choice_docs(test, preamble), "dev": _choice_docs(dev, preamble)}
    return {
        "task": subject,
        "custom_dataset": _dataset(splits),
        "test_split": "test",
        "fewshot_split": "dev" if dev else None,
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": shots,
        "output_type": "multiple_choice",
        "description": "preamble",
        "doc_to_text": _choice_prompt,
        "doc_to_choice": choices,
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def exact_match_task(
    name: str, prompts: Sequence[str], answers: Sequence[str], *, max_new_tokens: int, until: str
) -> Row:
    """Return an lm-eval task that generates greedily and compares with the answer.

    Args:
        name: The benchmark's name.
        prompts: The exact texts that the model goes on with (template already applied).
        answers: The expected texts, one per prompt.
        max_new_tokens: Longest generation, in tokens.
        until: Text that ends a turn beside the tokenizer's end token; empty when there is none.
    """
    docs = [{"prompt": p, "answer": a} for p, a in zip(prompts, answers, strict=True)]
    return {
        "task": name,
        "custom_dataset": _dataset({"test": docs}),
        "test_split": "test",
        "num_fewshot": 0,
        "output_type": "generate_until",
        "doc_to_text": _prompt,
        "doc_to_target": _answer,
        "generation_kwargs": {
            "until": [until] if until else [],
            "max_gen_toks": max_new_tokens,
            "do_sample": False,
        },
        "process_results": _exact_match,
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }


def _choice_docs(rows: Sequence[Row], preamble: str) -> list[dict[str, Any]]:
    # lm-eval takes a column's value for a description that names a column, and so leaves braces
    # in it alone.
    return [
        {key: row[key] for key in ("question", "choices", "answer")} | {"preamble": preamble}
        for row in rows
    ]


def _dataset(splits: Mapping[str, list[dict[str, Any]]]) -> Callable[..., Any]:
    def load(**_: object) -> Any:
        return DatasetDict({name: Dataset.from_list(docs) for name, docs in splits.items() if docs})

    return load


def _choice_prompt(doc: Row) -> str:
    choices = doc["choices"]
    lettered = [f"{LETTERS[place]}. {choice}" for place, choice in enumerate(choices)]
    return "\n".join([doc["question"].strip(), *lettered, "Answer:"])


def _letters(doc: Row) -> list[str]:
    return list(LETTERS[: len(doc["choices"])])


def _prompt(doc: Row) -> str:
    return str(doc["prompt"])


def _answer(doc: Row) -> str:
    return str(doc["answer"])


def _exact_match(doc: Row, responses: Sequence[str]) -> dict[str, float]:
    return {"exact_match": float(responses[0].strip() == doc["answer"].strip())}
