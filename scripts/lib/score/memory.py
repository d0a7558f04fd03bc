"""Memory that a model takes to read and to generate, in bytes, by its config.

Beside the weights a forward pass holds three things: keys and values of what was read, of every
layer; the results of the layer that is being computed; and the vocabulary at each position where it
is wanted. `pass_bytes` says what a token, or a position, costs of each, `PassBytes` what that makes
of a packed row, of a padded batch and of answers that are generated.

Pure, without torch. tests/unit/score/test_memory.py holds it against what PyTorch's allocator gives
out: never less, nor more than thrice that.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

_FLOAT32, _INT64 = 4, 8


class Need(NamedTuple):
    """What one forward pass takes.

    Attributes:
        bytes: Of memory.
        tokens: That go in, padding included; 0 where nothing is gained or lost by their number.
    """

    bytes: int
    tokens: int


@dataclass(frozen=True)
class Room:
    """What one forward pass may take.

    Attributes:
        bytes: Of memory.
        tokens: That may go in; more of them would not be read faster.
    """

    bytes: int
    tokens: int

    def holds(self, need: Need) -> bool:
        """Tell whether there is room for it."""
        return need.bytes <= self.bytes and need.tokens <= self.tokens

    def fitting(self, needs: Iterable[Need]) -> int:
        """Return how many can be read at once: at least one.

        Args:
            needs: Of the first, of the first two, and so on; at least one.
        """
        size = 0
        for size, need in enumerate(needs, start=1):
            if not self.holds(need):
                return max(1, size - 1)
        return size

    def below(self, failed: Need) -> "Room":
        """Return half of what was too much, or of this where it was less."""
        tokens = max(1, min(self.tokens, failed.tokens) // 2) if failed.tokens else self.tokens
        return Room(min(self.bytes, failed.bytes) // 2, tokens)


@dataclass(frozen=True, kw_only=True)
class PassBytes:
    """What a model takes beside its weights, in bytes.

    Attributes:
        token: Results of its largest layer, for each token that goes in.
        cached: Keys and values of all layers, for each token that later ones attend to.
        repeated: Keys and values of one layer once more, for each such token: while a cache grows,
            or for each head of the queries.
        pair: Of two tokens of which one attends to the other: masks, and weights where they are
            kept.
        logits: Scores of the vocabulary, for each position where they are wanted.
        softmax: Their logarithmic softmax in float32, for each position of the sequence that is
            being graded: one after the other is.
        everywhere: Both as lm-eval's code computes them, for each token that goes in.
    """

    token: int
    cached: int
    repeated: int
    pair: int
    logits: int
    softmax: int
    everywhere: int

    def row(
        self, tokens: int, scored: int, graded: int, past: int = 0, *, keeps: bool = True
    ) -> Need:
        """Return what a row of sequences takes, all of which attend to one past.

        Args:
            tokens: Of all of them.
            scored: Positions at which the vocabulary is wanted.
            graded: Those of the sequence that has most of them.
            past: Tokens that were read before.
            keeps: Whether others will go on from it, so that its keys and values are kept.
        """
        kept = (past + tokens * keeps) * self.cached
        said = scored * self.logits + graded * self.softmax
        return Need(kept + tokens * self.token + said, tokens)

    def batch(self, sequences: int, width: int, scored: int, past: int = 0) -> Need:
        """Return what a padded batch takes, each of whose sequences has a copy of the past.

        Args:
            sequences: Their number.
            width: Tokens of the longest.
            scored: Positions at which the vocabulary is wanted, of each.
            past: Tokens that were read before, which all attend to.
        """
        attended = (past + width) * (self.cached + self.repeated + width * self.pair)
        own = width * self.token + attended + scored * self.logits
        total = past * self.cached + sequences * own + scored * self.softmax
        return Need(total, sequences * width)

    def whole(self, sequences: int, width: int) -> Need:
        """Return what a padded batch takes of lm-eval's code, which scores every position.

        Args:
            sequences: Their number.
            width: Tokens of the longest.
        """
        read = self.batch(sequences, width, 0)
        return read._replace(bytes=read.bytes + sequences * width * self.everywhere)

    def answers(self, sequences: int, prompt: int, new: int) -> Need:
        """Return what answers take that are generated together.

        Args:
            sequences: Their number.
            prompt: Tokens of the longest prompt, all of which are kept for each answer.
            new: Most new tokens of an answer.
        """
        read = self.batch(sequences, prompt, 1).bytes
        return Need(read + sequences * new * (self.cached + self.repeated), 0)


def pass_bytes(config: Any, number_bytes: int) -> PassBytes:
    """Return what a model takes beside its weights.

    Args:
        config: The model's config; of one with several parts, the decoder of text counts.
        number_bytes: Size of a number in its arithmetic.
    """
    text = config.get_text_config(decoder=True)
    width = _most(text, "hidden_size", "d_model") or 1
    heads = _most(text, "num_attention_heads") or 1
    key_heads = _most(text, "num_key_value_heads") or heads
    head = max(
        _most(text, "head_dim", "global_head_dim", "v_head_dim") or width // heads,
        _sum(text, "qk_nope_head_dim", "qk_rope_head_dim"),
    )
    query, key = heads * head, key_heads * head
    layers = _most(text, "num_hidden_layers") or 1
    eager = getattr(text, "_attn_implementation", None) == "eager"
    largest = max(
        _norm(width, number_bytes),
        number_bytes * (_QUERIES * query + _KEYS * key),
        _inner(text, width, number_bytes),
        _scan(text, width),
    )
    # A mask of truths, and what attention makes of it; weights are kept in float32 by some.
    masks = 1 + 2 * number_bytes
    return PassBytes(
        token=_WIDTHS * width * number_bytes + largest,
        cached=layers * 2 * key * number_bytes,
        repeated=2 * max(query, key) * number_bytes,
        pair=masks + (heads * (2 * number_bytes + 2 * _FLOAT32) if eager else 0),
        logits=text.vocab_size * number_bytes * (2 if _caps(text) else 1),
        softmax=text.vocab_size * 2 * _FLOAT32,
        everywhere=text.vocab_size * 2 * number_bytes,
    )


# Numbers of a token that are alive at once, in the parts of a layer: the stream and what was
# normalised of it; queries, turned and attended ones and their copies; keys and values; and of an
# MLP both halves, the product and what an activation takes.
_WIDTHS, _QUERIES, _KEYS, _INNERS = 5, 6, 5, 4

# An activation that is computed in steps keeps some of them.
_STEPS = {"gelu_new": 2, "gelu_fast": 3}


def _norm(width: int, number_bytes: int) -> int:
    """Return what a norm takes, which is computed in float32."""
    return width * (3 * _FLOAT32 + 2 * number_bytes)


def _inner(text: Any, width: int, number_bytes: int) -> int:
    """Return what an MLP takes, or the experts of a mixture that read a token."""
    inner = _most(text, "intermediate_size", "ffn_dim", "n_inner", "d_ff") or 4 * width
    experts = _most(text, "num_local_experts", "num_experts", "n_routed_experts")
    dense = (_INNERS + _STEPS.get(_activation(text), 0)) * inner * number_bytes
    if not experts:
        return dense
    chosen = _most(text, "num_experts_per_tok", "moe_top_k", "top_k_experts", "top_k") or 1
    each = _most(text, "moe_intermediate_size") or inner
    shared = _most(text, "shared_expert_intermediate_size") or each * (
        _most(text, "n_shared_experts") or 0
    )
    routed = chosen * (_INNERS * each + _WIDTHS * width) * number_bytes
    routes = experts * (chosen * _INT64 + 2 * _FLOAT32)
    return max(dense, routed + _INNERS * shared * number_bytes + routes)


def _activation(text: Any) -> str:
    names = ("hidden_act", "hidden_activation", "activation_function")
    return next((str(name) for key in names if (name := getattr(text, key, None))), "")


def _scan(text: Any, width: int) -> int:
    """Return what a state-space layer takes that is computed step by step, in float32."""
    state = _most(text, "state_size", "ssm_state_size", "mamba_d_state") or 0
    inner = _most(text, "expand", "mamba_expand") or 2
    return 4 * inner * width * state * _FLOAT32


def _caps(text: Any) -> bool:
    """Tell whether scores of the vocabulary are capped, which takes them twice."""
    return bool(getattr(text, "final_logit_softcapping", None))


def _most(text: Any, *names: str) -> int:
    """Return the largest number that a config gives under any of *names*; 0 for none.

    Some give a list, a number for each layer.
    """
    given = [getattr(text, name, None) or 0 for name in names]
    return max(max(one, default=0) if isinstance(one, list | tuple) else one for one in given)


def _sum(text: Any, *names: str) -> int:
    return sum(_most(text, name) for name in names)
