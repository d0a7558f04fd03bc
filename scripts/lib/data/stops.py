"""Where a model that was trained on a chat template stops by itself: where it stops when scored.

    write_stops(settings, folder)["tokens"]

A base's generation config knows nothing of a template that was chosen for a run. Gemma's names 1,
and its template ends a turn with `<end_of_turn>`, 106: a model that learnt to say 106 would talk on
for both sides. So what ends answers and calls is added to what the generation config names.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from scripts.lib.data.ends import AnswerEnds, answer_ends, end_token, stop_tokens
from scripts.lib.data.templates import own_template
from scripts.lib.errors import TemplateError

STOPS = "eos_token_id"
# What transformers notes about a generation config itself.
METADATA = ("_from_model_config", "transformers_version")


@dataclass(frozen=True, kw_only=True)
class Stops:
    """Where a model stops.

    Attributes:
        tokens: Ids of all tokens that end an answer, those of the base's generation config first.
        ends: With what the chat template ends answers and calls.
        end_token: The token that ends an answer there; None where it is several ordinary ones.
        call_token: The same for calls.
    """

    tokens: tuple[int, ...]
    ends: AnswerEnds
    end_token: int | None
    call_token: int | None


class NamedStops(TypedDict):
    """What became of a model's generation config; as in `Stops`, and what was added.

    Of calls nothing is said where they end as answers do.
    """

    tokens: list[int]
    added: list[int]
    end_of_turn: str
    end_token: int | None
    end_of_call: NotRequired[str]
    call_token: NotRequired[int | None]


def write_stops(settings: Mapping[str, Any], folder: Path) -> NamedStops:
    """Write to a model's generation config where scoring stops, if it says less.

    Args:
        settings: What the generation config says that the model takes over.
        folder: Folder of the model with its tokenizer and chat template; its generation config, if
            it has one, says what *settings* do.

    Returns:
        Where it stops; `added` are the tokens that *settings* do not name.

    Raises:
        TemplateError: If the tokenizer cannot be loaded, or its template renders no answer.
    """
    stops = find_stops(folder, settings)
    added = [token for token in stops.tokens if token not in named_stops(settings)]
    if added:
        kept = {key: value for key, value in settings.items() if key not in METADATA}
        written = {**kept, STOPS: list(stops.tokens)}
        text = json.dumps(written, indent=2, ensure_ascii=False) + "\n"
        (folder / GENERATION_CONFIG_NAME).write_text(text, encoding="utf-8")
    facts: NamedStops = {
        "tokens": list(stops.tokens),
        "added": added,
        "end_of_turn": stops.ends.answer,
        "end_token": stops.end_token,
    }
    if stops.ends.call:
        facts |= {"end_of_call": stops.ends.call, "call_token": stops.call_token}
    return facts


def find_stops(tokenizer_folder: Path, settings: Mapping[str, Any]) -> Stops:
    """Return where scoring stops a model.

    Args:
        tokenizer_folder: Folder of its tokenizer and chat template.
        settings: What its base's generation config says.

    Raises:
        TemplateError: If the tokenizer cannot be loaded, or its template renders no answer.
    """
    declared = named_stops(settings)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_folder), trust_remote_code=False)
        ends = answer_ends(tokenizer) if own_template(tokenizer) else AnswerEnds()
    # The files are a stranger's, and a template is a program: both can fail in any way.
    except Exception as error:
        raise TemplateError(
            f"{tokenizer_folder}: the tokenizer and its chat template do not say where an answer"
            f" ends ({type(error).__name__}: {error}). Repair them in the folder that they come"
            " from, or train again with another `template`."
        ) from error
    found = stop_tokens(tokenizer, declared, ends.texts)
    return Stops(
        tokens=(*declared, *(token for token in found if token not in declared)),
        ends=ends,
        end_token=end_token(tokenizer, ends.answer),
        call_token=end_token(tokenizer, ends.call),
    )


def settings_of(model: Path) -> dict[str, Any]:
    """Return a model's generation config, or what transformers makes of its config.json."""
    file = model / GENERATION_CONFIG_NAME
    return settings_in(file) if file.is_file() else derived_settings(model)


def settings_in(file: Path) -> dict[str, Any]:
    """Return the content of a generation config."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def derived_settings(model: Path) -> dict[str, Any]:
    """Return what transformers makes of a model's config.json where there is no other file."""
    config = AutoConfig.from_pretrained(str(model), trust_remote_code=False)
    found: dict[str, Any] = GenerationConfig.from_model_config(config).to_diff_dict()
    return {key: value for key, value in found.items() if key not in METADATA}


def named_stops(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the tokens at which a generation config stops: one, several, or none."""
    found = settings.get(STOPS)
    if found is None:
        return ()
    return (found,) if isinstance(found, int) else tuple(found)
