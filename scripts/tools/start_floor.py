"""What any program that computes with a model loads: PyTorch, and Transformers' classes for it.

A tokenizer and a model are loaded and asked once, since Transformers loads most of itself then.

Try it: python -m scripts.tools.start_meter OUT.json scripts.tools.start_floor MODEL
"""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.tools.start_meter import METER


def main() -> None:
    """Load the model of the folder that the command line names, and ask it once."""
    with METER.working():
        tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
        model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
        with torch.no_grad():
            model(**tokenizer("the answer", return_tensors="pt"))


if __name__ == "__main__":
    main()
