"""The tiny model of the tools, by the name that tests know it by."""

from scripts.tools.tiny_model import CHATML, make_tiny_model, make_tokenizer

__all__ = ["CHATML", "make_tiny_model", "make_tokenizer"]
