"""Where a model stops, in words, for its card."""

import json
from collections.abc import Mapping
from typing import Any


def stop_words(stops: Mapping[str, Any]) -> str:
    """Return what someone who runs a merged model has to know of where it stops.

    Args:
        stops: As `name_stops` returns it.
    """
    tokens, end = stops["tokens"], stops["end_of_turn"]
    named = f"`generation_config.json` names {_listed(tokens)}, where scoring stopped, too."
    if not tokens:
        named = "`generation_config.json` names no token to stop at, and scoring had none."
    if not end:
        return f"The chat template, if there is one, writes nothing behind an answer. {named}"
    # As JSON, so that a line break in it stays visible.
    shown = f"`{json.dumps(end, ensure_ascii=False)[1:-1]}`"
    if stops["end_token"] is None:
        return (
            f"The chat template ends an answer with {shown}, which is no token of its own here: no"
            f" generation config can name it. {named} Stop at the text yourself, for example with"
            " `model.generate(..., stop_strings=[...], tokenizer=tokenizer)`."
        )
    return f"The chat template ends an answer with {shown} (token {stops['end_token']}). {named}"


def _listed(tokens: list[int]) -> str:
    return f"token{'s' if len(tokens) > 1 else ''} {', '.join(map(str, tokens))}"
