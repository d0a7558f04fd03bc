"""The adapter that a fine-tune puts on its base, in PEFT's terms."""

from collections.abc import Mapping, Sequence

from peft import LoraConfig

from scripts.lib.train.spec import TrainSpec


def lora_config(spec: TrainSpec, rows: Mapping[str, Sequence[int]]) -> LoraConfig:
    """Return the adapter of *spec* in PEFT's terms.

    Args:
        spec: Its shape.
        rows: Layer -> rows that are trained as they are.
    """
    lora = spec.lora
    modules = lora.target_modules
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=modules if isinstance(modules, str) else list(modules),
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=lora.init,
        trainable_token_indices={name: list(ids) for name, ids in rows.items()} or None,
        task_type="CAUSAL_LM",
    )
