"""Tiny shards in the form that render_shards writes, for a model of tests.tiny_model."""

import shutil
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
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    (folder / "tokenizer").mkdir(parents=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(model / name, folder / "tokenizer" / name)
    for split, start, rows in (("train", 0, train), ("valid", 1000, valid)):
        if rows:
            _write(folder / f"{split}-00000.parquet", tokenizer, split, range(start, start + rows))
    return folder


def _write(file: Path, tokenizer, split: str, numbers: range) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for number in numbers:
        prompt = f"<|im_start|>user\nWhat is {number}?<|im_end|>\n<|im_start|>assistant\n"
        answer = f"the answer is {'ABCD'[number % 4]}{' again' * (number % 3)}<|im_end|>"
        asked, said = (
            tokenizer.encode(text, add_special_tokens=False) for text in (prompt, answer)
        )
        rows.append(
            {
                "conversation_id": f"{split}:{number}",
                "text": prompt + answer,
                "input_ids": asked + said,
                "loss_mask": [0] * len(asked) + [1] * len(said),
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
