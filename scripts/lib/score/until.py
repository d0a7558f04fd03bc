"""lm-eval's `generate_until`, request by request: what is greedy, where it ends, what counts of it.

As `lm_eval.models.huggingface` 0.4.13 does for a request that is a batch of its own. In a batch,
who has ended goes on with the others there; what it then says is cut off again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from transformers import GenerationConfig

from scripts.lib.score.generation import Prompt

# lm-eval looks for a text in so many more of the last tokens than the text has.
_MORE_TOKENS = 2

# What of a generation config changes nothing where the likeliest token is taken.
_HARMLESS = {
    "_from_model_config",
    "bos_token_id",
    "cache_implementation",
    "do_sample",
    "eos_token_id",
    "max_length",
    "min_p",
    "pad_token_id",
    "temperature",
    "top_h",
    "top_k",
    "top_p",
    "transformers_version",
    "typical_p",
    "use_cache",
}


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How a request is answered.

    Attributes:
        until: Texts that end the answer; it is cut off before the first of them.
        most_new: Longest answer, in tokens.
    """

    until: tuple[str, ...]
    most_new: int


def greedy_prompts(lm: Any, requests: Sequence[Any]) -> dict[int, tuple[Prompt, Generation]]:
    """Return prompts, and how they are answered, by the places of their requests.

    Requests whose answers take more than the likeliest tokens are left out.

    Args:
        lm: lm-eval's `hf` model, or one that is made from it.
        requests: Of `generate_until`.
    """
    found = dict[int, tuple[Prompt, Generation]]()
    endings = dict[Generation, Ending]()
    for at, request in enumerate(requests):
        context, options = request.args
        how = _greedy_generation(lm, options)
        if how is None:
            continue
        if how not in endings:
            endings[how] = Ending(lm.tokenizer, how.until, end_tokens(lm.model))
        tokens, _ = lm.tok_batch_encode(
            [context], left_truncate_len=lm.max_length - how.most_new, truncation=lm.truncation
        )
        read = tuple(int(token) for token in tokens[0])
        if read:
            prompt = Prompt(tokens=read, most_new=how.most_new, is_over=endings[how])
            found[at] = prompt, how
    return found


def _greedy_generation(lm: Any, options: Any) -> Generation | None:
    """Return how a request is answered, or None where that takes more than likeliest tokens."""
    if not isinstance(options, dict) or lm.think_end_token is not None:
        return None
    known = normalize_gen_kwargs(options, lm.max_gen_toks)
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    until = handle_stop_sequences(known.pop("until"), eos=eos)
    most_new = known.pop("max_gen_toks")
    # A length of prompt and answer together depends on the batch there.
    if "max_length" in known or not 0 < most_new < lm.max_length:
        return None
    if not known["do_sample"]:
        known.pop("temperature", None)
    config = GenerationConfig(**lm.model.generation_config.to_dict())
    unknown = config.update(**known)
    defaults = GenerationConfig().to_dict() | GenerationConfig._get_default_generation_params()
    unusual = {
        name
        for name, value in config.to_diff_dict().items()
        if value not in (None, False, defaults.get(name))
    }
    if unknown or config.do_sample or unusual - _HARMLESS:
        return None
    return Generation(until=tuple(until), most_new=most_new)


def end_tokens(model: Any) -> list[int]:
    """Return the tokens that end every answer of a model."""
    declared = model.generation_config.eos_token_id
    if declared is None:
        return []
    return list(declared) if isinstance(declared, list) else [declared]


class Ending:
    """Whether an answer ends with the tokens it has by now."""

    def __init__(self, tokenizer: Any, until: Sequence[str], ends: Sequence[int]) -> None:
        """Count the tokens of the texts.

        Args:
            tokenizer: The model's.
            until: Texts that end an answer.
            ends: Tokens that end one.
        """
        self._tokenizer = tokenizer
        self._ends = set(ends)
        # Length of the last tokens -> texts that are looked for in them.
        self._texts = dict[int, list[str]]()
        for text in until:
            length = len(tokenizer.encode(text, add_special_tokens=False)) + _MORE_TOKENS
            self._texts.setdefault(length, []).append(text)

    def __call__(self, new: Sequence[int]) -> bool:
        """Tell it of an answer's tokens, after each of them."""
        return new[-1] in self._ends or any(
            text in said
            for length, texts in self._texts.items()
            for said in [self._tokenizer.decode(list(new[-length:]))]
            for text in texts
        )


def text_of(lm: Any, new: Sequence[int], until: Sequence[str]) -> str:
    """Return what lm-eval returns for an answer.

    Args:
        lm: The model that gave it.
        new: Its tokens.
        until: Texts that end an answer.
    """
    text: str = postprocess_generated_text(lm.tok_decode(list(new)), list(until), None)
    return text
