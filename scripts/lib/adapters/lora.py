"""LoRA adapters as PEFT saves them: the names of their files, and the weights that they start from.

Training writes what combining, merging and the proof read; this is what they agree on.
"""

from typing import Literal, assert_never, get_args

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PROMPTS_FILE = "prompts.json"
"""Rows of token ids beside an adapter: what a proof asks base + adapter and the merged model."""

Bias = Literal["none", "all", "lora_only"]
"""Which biases are trained."""

Init = Literal[True, "gaussian", "pissa", "olora", "eva"]
"""How an adapter can start, in PEFT's words (`init_lora_weights`); true is PEFT's own choice."""

INITS: tuple[Init, ...] = get_args(Init)


def changes_base(init: Init) -> bool:
    """Tell whether an adapter with this start takes weights out of its base."""
    match init:
        case True | "gaussian" | "eva":
            return False
        case "pissa" | "olora":
            return True
        case _:
            assert_never(init)


EVA_RHO = 2.0
"""How many times its rank a layer may get from EVA, by PEFT's default."""

REPEATABLE_INITS: tuple[str, ...] = tuple(
    init for init in INITS if isinstance(init, str) and changes_base(init)
)
"""The starts that take weights out of the base, and the same ones each time.

Sources: PiSSA (https://arxiv.org/abs/2404.02948), OLoRA (https://arxiv.org/abs/2406.01775).
"""
