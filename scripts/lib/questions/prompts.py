"""From checked rows to the exact texts that a model is asked, with nothing but its tokenizer.

Prompts are built by lm-eval's own task class. All of them are there, and measured against the
model's context (`prompt_tokens`), before the model is loaded: lm-eval itself cuts a long prompt
from the left with only a warning.
"""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError as JinjaError
from lm_eval.api.instance import Instance
from transformers import AutoTokenizer

from scripts.lib.data.templates import (
    OWN,
    TemplateSpec,
    own_template,
    resolve_template,
    with_fixed_date,
)
from scripts.lib.errors import ScoreError
from scripts.lib.questions.question import Grader, Question
from scripts.lib.questions.rows import Row, Turn


def load_tokenizer(
    model: Path, *, chat_template: bool, optional: bool = True, template: TemplateSpec = OWN
) -> Any:
    """Load the tokenizer of a model folder and see to it that the asked template exists.

    Args:
        model: The folder.
        chat_template: Whether a template is asked for.
        optional: Whether the benchmark could do without.
        template: The one to give the tokenizer, or `tokenizer` for what it brings.

    Raises:
        ScoreError: `chat_template` is asked for and there is none.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(model), trust_remote_code=False)
    if template != OWN:
        tokenizer.chat_template = resolve_template(template, tokenizer).text
    if chat_template and not own_template(tokenizer):
        why = "`chat_template: true` asks for it" if optional else "its answers are those of a chat"
        remedy = "set it to false for" if optional else "drop"
        raise ScoreError(
            f"The model in {model} has no chat template, but {why}. Give it one in the"
            " configuration, `models.NAME.template`: chatml, or the path of a .jinja file; or"
            f" {remedy} this benchmark."
        )
    return tokenizer


def in_memory(splits: Mapping[str, list[dict[str, Any]]]) -> Callable[..., Any]:
    """Return what a task's config takes for its `custom_dataset`: rows that are in memory.

    Empty splits are left out.
    """

    def load(**_: object) -> Any:
        from datasets import Dataset, DatasetDict

        return DatasetDict({name: Dataset.from_list(docs) for name, docs in splits.items() if docs})

    return load


def ask(
    task_config: Row,
    subject: str,
    *,
    chat: Callable[..., str] | None,
    grade: Grader,
    fits: Callable[[Question], bool] | None = None,
    stem: str | None = None,
) -> Iterator[Question]:
    """Yield the questions of one lm-eval task, in row order.

    Args:
        task_config: From `scripts.lib.questions.tasks`.
        subject: The subject that names the questions.
        chat: Renders a conversation (`chat_renderer`), or None for plain text. Few-shot examples
            then become turns, which is lm-eval's default.
        grade: Turns the model's replies to a question into an answer.
        fits: Says whether a question may stay as it is; the last few-shot example is left out until
            it does, or none is left. None to leave every question as it is.
        stem: What the ids begin with, where the subject is no plain word.
    """
    from lm_eval.api.task import ConfigurableTask  # with datasets, which only its prompts need

    task = ConfigurableTask(config=dict(task_config))
    make = functools.partial(_question, task, subject, stem or subject, grade, chat=chat)
    for index in range(len(task.eval_docs)):
        shots = task.config.num_fewshot
        question = make(index, shots=shots)
        while shots and fits and not fits(question):
            shots -= 1
            question = make(index, shots=shots)
        yield question


def _question(
    task: Any,
    subject: str,
    stem: str,
    grade: Grader,
    index: int,
    *,
    shots: int,
    chat: Callable[..., str] | None,
) -> Question:
    doc = task.eval_docs[index]
    options = {"apply_chat_template": chat is not None, "chat_template": chat}
    prompt = task.fewshot_context(doc, num_fewshot=shots, fewshot_as_multiturn=True, **options)
    requests = task.construct_requests(doc=doc, ctx=prompt, metadata=(subject, index, 1), **options)
    return Question(
        id=f"{stem}:{index}",
        subject=subject,
        prompt=prompt,
        doc=doc,
        shots=shots,
        requests=(requests,) if isinstance(requests, Instance) else tuple(requests),
        task=task,
        grade=grade,
    )


def render(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True
) -> str:
    """Return a conversation as text.

    Args:
        tokenizer: Its template is used.
        messages: The turns.
        add_generation_prompt: Whether the text ends where the assistant's next turn begins; else
            within its last turn, which the model goes on with.

    Raises:
        ScoreError: The template refuses the conversation.
    """
    own = tokenizer.chat_template
    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages),
                # Base and tuned model may be asked on different days.
                chat_template=with_fixed_date(own) if isinstance(own, str) else None,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )
    except JinjaError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ScoreError(
            f"The chat template refuses a conversation of the turns {roles}: {error}. "
            "Change the question's turns, or set `chat_template: false`."
        ) from error


def chat_renderer(tokenizer: Any) -> Callable[..., str]:
    """Return the renderer that lm-eval's `hf` model would bring.

    Like that one it leaves the first line of the prompt out when the template knows no system
    turn, and unlike that one it says so on stderr.
    """
    told = False

    def chat(messages: list[Turn], *, add_generation_prompt: bool = True) -> str:
        nonlocal told
        try:
            return render(tokenizer, messages, add_generation_prompt=add_generation_prompt)
        except ScoreError:
            turns = [message for message in messages if message["role"] != "system"]
            if len(turns) == len(messages):
                raise
            text = render(tokenizer, turns, add_generation_prompt=add_generation_prompt)
        if not told:
            told = True
            print("The template has no system turn: asking without it.", file=sys.stderr)
        return text

    return chat
