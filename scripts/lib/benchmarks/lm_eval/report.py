"""What the questions of lm-eval's tasks say, for the pages of those that flipped."""

from pathlib import Path
from typing import Any

from scripts.lib.benchmarks.lm_eval.tasks import build_task, read_tasks
from scripts.lib.questions.category_names import file_name
from scripts.lib.report.asked import Asked, AskedQuestion, Choice

ANSWERS_ARE_LETTERS = False


def asked(benchmark: Path, shots: int | None) -> Asked:
    """Return what was asked, as plain text; a task's own words around a question belong to it.

    Few-shot examples are kept where all questions of a task were asked after the same ones.

    Args:
        benchmark: Folder of fetched tasks.
        shots: Few-shot examples before each question; None for each task's own number.
    """
    questions: dict[str, AskedQuestion] = {}
    examples: dict[str, list[AskedQuestion]] = {}
    for fetched in read_tasks(benchmark):
        name = fetched.leaf.name
        task = build_task(fetched, benchmark, shots=shots)
        before: set[str] = set()
        for place, doc in enumerate(task.eval_docs):
            id_ = f"{file_name(name)}:{place}"
            text, choices = _text(task, doc)
            questions[id_] = AskedQuestion(id_, name, text, choices)
            if len(before) < 2:
                before.add(_before(task, doc, text))
        if len(before) == 1 and (shown := before.pop()):
            examples[name] = [AskedQuestion("", name, shown)]
    return Asked(questions, examples)


def _text(task: Any, doc: Any) -> tuple[str, tuple[Choice, ...]]:
    """Return what a question says and what there is to choose from.

    Where choices differ in what they go before (winogrande), `doc_to_choice` has whole texts.
    """
    text = task.doc_to_text(doc)
    if task.OUTPUT_TYPE != "multiple_choice":
        return str(text), ()
    choices = tuple(Choice("", str(choice)) for choice in task.doc_to_choice(doc))
    return str(task.doc_to_target(doc) if task.multiple_input else text), choices


def _before(task: Any, doc: Any, text: str) -> str:
    """Return what a prompt says before its question; nothing where that cannot be told."""
    shots = task.config.num_fewshot
    context = task.fewshot_context(doc, num_fewshot=shots, gen_prefix=task.doc_to_prefix(doc))
    if not shots or not isinstance(context, str):
        return ""
    return context[: context.rindex(text)].strip() if text and text in context else ""
