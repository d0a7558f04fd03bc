"""Multiple-choice rows on disk -> checked rows -> lm-eval tasks, made in Python: no YAML.

A benchmark has questions in `test/{name}.jsonl` and few-shot examples in `dev/{name}.jsonl`. Every
row is checked here, before any model is loaded.

The task is lm-eval's own for MMLU (tasks/mmlu/default/_default_template_yaml of lm-eval 0.4.13)
word for word. It is written with functions and columns instead of Jinja because lm-eval compiles
each Jinja text anew for every question, which took longer than a GPU takes to answer it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.lib.errors import ScoreError
from scripts.lib.questions.bad_rows import FaultOf
from scripts.lib.questions.prompts import Chat
from scripts.lib.questions.question import Answer, Question, answer_row
from scripts.lib.questions.rows import LETTERS, Row, read_rows
from scripts.lib.questions.spec import ScoreSpec
from scripts.lib.questions.tasks import ask, in_memory


def read_splits(
    benchmark: Path,
    name: str,
    fault: FaultOf,
    *,
    shots: int,
    limit: int | None,
) -> tuple[list[Row], list[Row]]:
    """Read and check the rows of one file of questions and of one of few-shot examples.

    Args:
        benchmark: Folder with `test/` and, for few-shot examples, `dev/`.
        name: File stem in both.
        fault: Says what is wrong with a row, or None.
        shots: Few-shot examples that the prompt will show; that many dev rows must exist.
        limit: Only the first so many test rows, or None for all.

    Raises:
        ScoreError: A file is missing, empty or has a row that is none, with file and line.
    """
    test = read_rows(benchmark / "test" / f"{name}.jsonl", fault)
    dev_file = benchmark / "dev" / f"{name}.jsonl"
    dev = read_rows(dev_file, fault) if shots else []
    if len(dev) < shots:
        raise ScoreError(
            f"{dev_file} holds {len(dev)} rows, but {shots} few-shot examples are asked for. "
            "Lower `shots`, or add rows."
        )
    return test[:limit], dev


def choice_task(
    subject: str,
    preamble: str,
    choices: list[str] | Callable[[Row], list[str]],
    test: Sequence[Row],
    dev: Sequence[Row],
    *,
    shots: int,
) -> Row:
    """Return lm-eval's task for multiple-choice questions that are already in memory.

    Args:
        subject: Its name.
        preamble: What the prompt begins with.
        choices: The letters to choose from, or what returns those of a question.
        test: Rows to ask.
        dev: Rows to show as few-shot examples, the first `shots` in file order.
        shots: Number of few-shot examples.
    """
    splits = {"test": _choice_docs(test, preamble), "dev": _choice_docs(dev, preamble)}
    return {
        "task": subject,
        "custom_dataset": in_memory(splits),
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


def ask_choices(
    spec: ScoreSpec, tasks: Sequence[tuple[str, str, Row]], tokenizer: Any
) -> Iterator[Question]:
    """Yield the questions of multiple-choice tasks.

    Args:
        spec: How to ask.
        tasks: Subject, stem of the questions' ids, and task, from `choice_task`.
        tokenizer: The tokenizer of the model that will be asked.
    """
    chat = None
    if spec.chat_template:
        chat = Chat(tokenizer, spec.template_arguments, closes_thoughts=True)
    for subject, stem, task in tasks:
        yield from ask(task, subject, chat=chat, grade=grade_choices, stem=stem)


def grade_choices(question: Question, replies: Sequence[tuple[float, bool]]) -> Answer:
    """Return the answer to a choice: the letter with the largest log-probability.

    Args:
        question: A multiple-choice question.
        replies: Log-probability (nats) of each letter, and whether it is the greedy one.

    Raises:
        ScoreError: A log-probability is not a number.
    """
    logprobs = [logprob for logprob, _ in replies]
    if any(math.isnan(logprob) for logprob in logprobs):
        raise ScoreError(
            f"The model's answer to {question.id} is not a number. Score it in float32; if that "
            "does not help, its weights are damaged: look at the run's verdict and merge proof."
        )
    return answer_row(
        question,
        prediction=LETTERS[logprobs.index(max(logprobs))],
        answer=LETTERS[question.doc["answer"]],
        correct=bool(question.task.process_results(question.doc, list(replies))["acc"]),
        logprobs=logprobs,
    )


def _choice_docs(rows: Sequence[Row], preamble: str) -> list[dict[str, Any]]:
    # lm-eval takes a column's value for a description that names a column, and so leaves braces
    # in it alone.
    return [
        {key: row[key] for key in ("question", "choices", "answer")} | {"preamble": preamble}
        for row in rows
    ]


def _choice_prompt(doc: Row) -> str:
    choices = doc["choices"]
    lettered = [f"{LETTERS[place]}. {choice}" for place, choice in enumerate(choices)]
    return "\n".join([doc["question"].strip(), *lettered, "Answer:"])
