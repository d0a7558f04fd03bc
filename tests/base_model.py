"""A tiny random base model: no chat template, and no token that one could end a turn with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def make_base_tokenizer(vocabulary_size: int = 320):
    """Return a byte-level tokenizer whose one control token is `<|endoftext|>`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["<|endoftext|>", "<|reserved_0|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["the answer is A B C D and the question was"] * 8, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|endoftext|>",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def make_base_model(
    folder: Path, *, tied: bool = True, spare: int = 0, seed: int = 0, dtype: str = "bfloat16"
) -> Path:
    """Write a complete random base model to *folder* and return it.

    Args:
        folder: Made when absent.
        tied: Whether the output layer is the embedding.
        spare: Rows of the embedding behind those of the tokenizer.
        seed: Seed of the weights.
        dtype: Of the weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_base_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + spare,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.3,  # wide enough that training can make one token sure
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_base_shards(
    model: Path, rows: Sequence[tuple[str, str]], out: Path, *, template: Any = "chatml"
) -> dict[str, Any]:
    """Format and render questions with their answers for *model*; return the facts of *out*."""
    from scripts.lib.data.formatting import FormatSpec, format_chat
    from scripts.lib.data.rendering import RenderSpec, render_shards

    raw, chat = out.with_name(f"{out.name}-raw"), out.with_name(f"{out.name}-chat")
    for folder in (raw, chat, out):
        folder.mkdir()
    asked = [{"prompt": question, "completion": answer} for question, answer in rows]
    (raw / "train.json").write_text(json.dumps(asked))
    plain = {"format": "auto", "system": None, "split_seed": 0, "limit": None}
    format_chat(FormatSpec(**plain, valid_fraction=0.0, test_fraction=0.0), raw, chat)
    spec = RenderSpec(template=template, max_length_tokens=512, on_too_long="drop")
    return render_shards(spec, chat, model, out)
