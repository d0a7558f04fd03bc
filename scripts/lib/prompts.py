"""From checked rows to the exact texts that a model is asked, with nothing but its tokenizer.

Prompts are built by lm-eval's own task class. All of them are there, and measured against the
model's context, before the model is loaded: lm-eval itself cuts a long prompt from the left with
only a warning.
"""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError as JinjaError
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.defaults import DEFAULT_MAX_GEN_TOKS
from lm_eval.models.utils import normalize_gen_kwargs, resolve_max_length
from transformers import AutoConfig, AutoTokenizer

from scripts.lib.answering import GreedyRequest, ReferenceRequest
from scripts.lib.errors import ScoreError
from scripts.lib.judging import judge_choices
from scripts.lib.question_rows import Message, Row
from scripts.lib.questions import Judge, Question
from scripts.lib.templates import with_fixed_date

# A word that no template changes; what follows it in a rendered turn is the turn's end.
_PROBE = "tunesmith"


def load_tokenizer(model: Path, *, chat_template: bool, optional: bool = True) -> Any:
    """Load the tokenizer of a model folder and see to it that the asked template exists.

    Args:
        model: The folder.
        chat_template: Whether the template is asked for.
        optional: Whether the benchmark could do without.

    Raises:
        ScoreError: `chat_template` is asked for and the model has none.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(model), trust_remote_code=False)
    if chat_template and not tokenizer.chat_template:
        why = "`chat_template: true` asks for it" if optional else "its answers are those of a chat"
        remedy = "Set it to false for" if optional else "Choose a base model that has one, or drop"
        raise ScoreError(
            f"The model in {model} has no chat template, but {why}. {remedy} this benchmark, or"
            " give the run a template."
        )
    return tokenizer


def ask(
    task_config: Row,
    subject: str,
    *,
    chat: Callable[..., str] | None,
    judge: Judge = judge_choices,
    fits: Callable[[Question], bool] | None = None,
    stem: str | None = None,
) -> Iterator[Question]:
    """Yield the questions of one lm-eval task, in row order.

    Args:
        task_config: From `scripts.lib.tasks`.
        subject: The subject that names the questions.
        chat: Renders a conversation (`chat_renderer`), or None for plain text. Worked examples
            then become turns, which is lm-eval's default.
        judge: Turns the model's replies to a question into an answer.
        fits: Says whether a question may stay as it is; the last worked example is left out until
            it does, or none is left. None to leave every question as it is.
        stem: What the ids begin with, where the subject is no plain word.
    """
    task = ConfigurableTask(config=dict(task_config))
    make = functools.partial(_question, task, subject, stem or subject, judge, chat=chat)
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
    judge: Judge,
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
        judge=judge,
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

    def chat(messages: list[Message], *, add_generation_prompt: bool = True) -> str:
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


def turn_end(tokenizer: Any) -> str:
    """Return the text with which the chat template ends an assistant's turn, or ''.

    Example: `<|im_end|>` for ChatML.
    """
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    return text.rpartition(_PROBE)[2].strip()


def context_limit(tokenizer: Any, model: Path) -> int:
    """Return how many tokens the model reads, as lm-eval's `hf` model finds it."""
    config = AutoConfig.from_pretrained(str(model), trust_remote_code=False)
    return int(resolve_max_length(config, tokenizer))


def check_lengths(questions: Sequence[Question], tokenizer: Any, limit: int) -> None:
    """Refuse a question that does not fit into the model's context, answer included.

    Raises:
        ScoreError: Names the first such question, its length and the limit, in tokens; or the
            tokenizer adds an end to every text.
    """
    for question in questions:
        needed = tokens_needed(question, tokenizer)
        if needed > limit:
            remedy = "Lower `max_new_tokens`, if it has one"
            if question.shots:
                remedy = "Lower `shots`, or set `on_long_prompt: fewer_shots`"
            elif isinstance(question.requests[-1], GreedyRequest):
                remedy = "Lower `max_new_tokens`, or set `on_long_prompt: leave_out`"
            raise ScoreError(
                f"Question {question.id} needs {needed} tokens with its answer and "
                f"{question.shots} worked examples, but the model reads {limit}. {remedy}; or leave"
                " the question out."
            )


def tokens_needed(question: Question, tokenizer: Any) -> int:
    """Return how long the model's input becomes, counted as lm-eval's `hf` model counts.

    A text of which every token counts (`loglikelihood_rolling`) is read in windows: it always fits.

    Raises:
        ScoreError: The tokenizer adds an end to every text.
    """
    kind = question.requests[0].request_type
    if kind == "loglikelihood_rolling":
        return 0
    last = question.requests[-1]
    if isinstance(last, GreedyRequest):
        # A rendered prompt is encoded as it is.
        read = len(tokenizer.encode(last.prompt, add_special_tokens=False))
        given = [r for r in question.requests if isinstance(r, ReferenceRequest)]
        # The last token of a given answer is only predicted, never read.
        whole = [len(request.context) + len(request.answer) - 1 for request in given]
        return max(read + last.max_new_tokens, *whole, 0)
    generation = kind == "generate_until"
    length = max(_length(tokenizer, text) for text in _texts(question, whole=not generation))
    if generation:
        return length + answer_tokens(question.requests[0].args[1])
    # The last token of a choice is only predicted, never read.
    return length - 1


def _texts(question: Question, *, whole: bool) -> set[str]:
    """Return what has to be read for a question, with the choices if *whole*.

    Of choices that are letters one stands for all: a text of a hundred lines is not measured again
    for each.
    """
    pairs = [request.args[:2] for request in question.requests]
    if not whole:
        return {context for context, _ in pairs}
    if len({context for context, _ in pairs}) == 1 and all(len(c.strip()) == 1 for _, c in pairs):
        pairs = pairs[:1]
    return {context + choice for context, choice in pairs}


def _length(tokenizer: Any, text: str) -> int:
    """Return how many tokens a text has, special ones that lm-eval lets be added included.

    Raises:
        ScoreError: An end is added, so that nothing can go on from the text.
    """
    prefix = tokenizer.bos_token or tokenizer.eos_token
    special = not (prefix and text.startswith(prefix))
    tokens = tokenizer.encode(text, add_special_tokens=special)
    end = tokenizer.eos_token
    if special and end and tokens[-1:] == [tokenizer.eos_token_id] and not text.endswith(end):
        raise ScoreError(
            f"The tokenizer ends every text with {end}, so that the model would be asked what"
            " follows a text that is over. Set `add_eos_token` to false in tokenizer_config.json"
            " (or take the end out of tokenizer.json), and name that folder as the model."
        )
    return len(tokens)


def answer_tokens(options: Row) -> int:
    """Return the longest answer in tokens that lm-eval's `hf` model generates."""
    return int(normalize_gen_kwargs(dict(options), DEFAULT_MAX_GEN_TOKS)["max_gen_toks"])
