"""A tiny model with the vocabulary of any chat template."""

from importlib.resources import files
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.lib.data.control_tokens import written_tokens
from tests.tiny_model import make_tiny_model


def shipped_template(name: str) -> str:
    """Return the text of a template that TRL ships, by its file's stem."""
    return files("trl").joinpath("chat_templates", f"{name}.jinja").read_text(encoding="utf-8")


def make_template_model(folder: Path, template: str, end: str) -> Path:
    """Write a tiny model whose tokenizer has the control tokens of *template*, which is its own.

    Args:
        folder: Where it goes.
        template: The Jinja text.
        end: The token that ends the model's texts.
    """
    make_tiny_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    markers = sorted({*written_tokens(template), end})
    tokenizer.add_special_tokens({"additional_special_tokens": markers})
    tokenizer.eos_token = end
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    return folder
