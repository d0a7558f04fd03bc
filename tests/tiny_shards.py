"""Tiny shards in the form that render_shards writes, for a model of tests.tiny_model."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_tiny_shards(folder: Path, model: Path, *, train: int = 24, valid: int = 6) -> Path:
    """Write a train and a valid shard of short chats and the tokenizer to *folder*; return it.

    Args:
        folder: Made when absent.
        model: A model folder, for its tokenizer.
        train: Rows of the train split.
        valid: Rows of the valid split; 0 writes none.
    """
    splits = {"train": range(train), "valid": range(1000, 1000 + valid)}
    rows = {split: [_chat(number) for number in numbers] for split, numbers in splits.items()}
    return make_shards(folder, model, rows)


def _chat(number: int) -> tuple[str, str]:
    return (
        f"What is {number}?",
        f"the answer is {'ABCD'[number % 4]}{' again' * (number % 3)}",
    )


def make_shards(
    folder: Path,
    model: Path,
    splits: Mapping[str, Sequence[tuple[str, str]]],
    *,
    end_is_trained: bool = True,
) -> Path:
    """Write a shard of questions with their answers for each split that has some; return *folder*.

    Args:
        folder: Made when absent.
        model: A model folder, for its tokenizer.
        splits: Split -> question and answer of each row.
        end_is_trained: Whether the loss looks at the end of the answers.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    (folder / "tokenizer").mkdir(parents=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(model / name, folder / "tokenizer" / name)
    for split, pairs in splits.items():
        if pairs:
            _write(folder / f"{split}-00000.parquet", tokenizer, split, pairs, end_is_trained)
    return folder


def _write(
    file: Path, tokenizer, split: str, pairs: Sequence[tuple[str, str]], end_is_trained: bool
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = 1000 if split == "valid" else 0
    rows = []
    for number, (question, answer) in enumerate(pairs, start=first):
        texts = (
            f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
            answer,
            "<|im_end|>",
        )
        asked, said, end = (tokenizer.encode(text, add_special_tokens=False) for text in texts)
        rows.append(
            {
                "conversation_id": f"{split}:{number}",
                "text": "".join(texts),
                "input_ids": asked + said + end,
                "loss_mask": [0] * len(asked) + [1] * len(said) + [int(end_is_trained)] * len(end),
            }
        )
    schema = pa.schema(
        [
            ("conversation_id", pa.string()),
            ("text", pa.string()),
            ("input_ids", pa.list_(pa.int32())),
            ("loss_mask", pa.list_(pa.int8())),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
