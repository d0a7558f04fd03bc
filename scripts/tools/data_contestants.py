"""One way through a file of conversations, in a process of its own: our two stages, or a peer.

    python -m scripts.tools.data_contestants NAME WORK MODEL PROCESSES

NAME is `format` (WORK/raw to WORK/chat), `render` (WORK/chat to WORK/shards), `tokenizer` (the bare
fast tokenizer on the texts in WORK/shards), `map` (one Python function for each row of WORK/raw in
`datasets.map` that does what our stages do: it judges the turns, tells equal rows, takes each
trained turn as the model is asked for it, and decodes what it encoded) or `bare_map` (the shortest
such function: a template with marks for the mask, rendered once, and nothing is checked).

Prints one line of JSON: rows, seconds and processor seconds, without importing and, for the peers,
without reading what they work on and loading the tokenizer.
"""

import hashlib
import json
import os
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# SmolLM2's template.
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] +"
    " '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# With the marks by which Transformers and TRL find what an assistant says, in one rendering; a map
# would need one for each turn without them.
_WORDS = "message['content'] + '<|im_end|>'"
MARKED_TEMPLATE = TEMPLATE.replace(
    f"+ {_WORDS} + '\n'}}}}",
    "}}{% if message['role'] == 'assistant' %}{% generation %}{{ WORDS }}{% endgeneration %}"
    "{% else %}{{ WORDS }}{% endif %}{{ '\n' }}".replace("WORDS", _WORDS),
)
MAX_LENGTH_TOKENS = 2048
TEXTS_AT_ONCE = 1_000


class Clock:
    """Wall and processor seconds of blocks, those of processes that ended in them included."""

    seconds = processor_seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a block."""
        began, processor = time.perf_counter(), sum(os.times()[:4])
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
            self.processor_seconds += sum(os.times()[:4]) - processor


def format_rows(clock: Clock, work: Path, model: Path, processes: int) -> int:
    """Format as the program does; return the raw rows."""
    from scripts.lib.data.format_spec import FormatSpec
    from scripts.lib.data.formatting import format_chat

    spec = FormatSpec(
        format="auto", system=None, valid_fraction=0.0, test_fraction=0.0, split_seed=0, limit=None
    )
    with clock.running():
        facts = format_chat(spec, work / "raw", work / "chat", processes=processes)
    return int(facts["summary"]["rows"])


def render_rows(clock: Clock, work: Path, model: Path, processes: int) -> int:
    """Render as the program does; return the conversations that were read."""
    from scripts.lib.data.rendering import RenderSpec, render_shards
    from scripts.lib.data.templates import load_fast_tokenizer

    load_fast_tokenizer(model)  # imports most of Transformers, and PyTorch
    spec = RenderSpec(
        template={"name": "bench", "text": TEMPLATE},
        train_on="assistant",
        max_length_tokens=MAX_LENGTH_TOKENS,
        on_too_long="drop",
    )
    with clock.running():
        facts = render_shards(spec, work / "chat", model, work / "shards", processes=processes)
    return int(facts["tokens"]["conversations"])


def bare_tokenizer(clock: Clock, work: Path, model: Path, processes: int) -> int:
    """Encode the rendered texts with as many threads of the tokenizer's own; return the texts."""
    os.environ["RAYON_NUM_THREADS"] = str(processes)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if processes > 1 else "false"
    import pyarrow.parquet as pq
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    count = 0
    for shard in sorted((work / "shards").glob("*.parquet")):
        with pq.ParquetFile(shard) as file:
            for batch in file.iter_batches(batch_size=TEXTS_AT_ONCE, columns=["text"]):
                texts = batch.column("text").to_pylist()
                with clock.running():
                    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
                    count += len([one.ids for one in encodings])
    return count


Row = Mapping[str, Any]


def map_rows(clock: Clock, work: Path, model: Path, processes: int) -> int:
    """Do all that our stages do row by row; return the rows."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def tokenize(row: Row) -> dict[str, Any]:
        turns = row["messages"]
        digest = hashlib.sha256(json.dumps(turns, sort_keys=True).encode()).digest()
        if problem := _problem(turns):
            return {"text": "", "input_ids": [], "loss_mask": [], "why": problem, "digest": digest}

        def rendered(turns: Sequence[Row], *, asked: bool = False) -> str:
            text: str = tokenizer.apply_chat_template(
                turns, chat_template=TEMPLATE, tokenize=False, add_generation_prompt=asked
            )
            return text

        text, spans = "", []
        for place, turn in enumerate(turns):
            if turn["role"] == "assistant":
                prompt, through = rendered(turns[:place], asked=True), rendered(turns[: place + 1])
                if not (prompt.startswith(text) and through.startswith(prompt)):
                    raise SystemExit("a turn is no prefix of the conversation")
                spans.append((len(prompt), len(through.rstrip())))
                text = through
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        starts = [start for start, _ in found["offset_mapping"]]
        mask = [0] * len(starts)
        for first, end in spans:
            begin, behind = bisect_left(starts, first), bisect_left(starts, end)
            mask[begin:behind] = [1] * (behind - begin)
        whole = tokenizer.decode(found["input_ids"], clean_up_tokenization_spaces=False) == text
        why = "" if whole and len(starts) <= MAX_LENGTH_TOKENS else "too long, or not reversible"
        ids = found["input_ids"]
        return {"text": text, "input_ids": ids, "loss_mask": mask, "why": why, "digest": digest}

    return _mapped(clock, work, tokenize, processes)


def _problem(turns: Sequence[Row]) -> str:
    """Say why turns cannot be trained on; nothing where they can."""
    said = [turn for turn in turns if turn["role"] != "system"]
    expected = ["user", "assistant"] * (len(said) // 2)
    if not said or [turn["role"] for turn in said] != expected:
        return "the turns do not alternate"
    return "" if all(turn["content"].strip() for turn in said) else "a turn says nothing"


def bare_map_rows(clock: Clock, work: Path, model: Path, processes: int) -> int:
    """Tokenize and mask row by row, as TRL does for conversations; return the rows."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def tokenize(row: Row) -> dict[str, Any]:
        found = tokenizer.apply_chat_template(
            row["messages"],
            chat_template=MARKED_TEMPLATE,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        return {"input_ids": found["input_ids"], "loss_mask": found["assistant_masks"]}

    return _mapped(clock, work, tokenize, processes)


def _mapped(
    clock: Clock, work: Path, tokenize: Callable[[Row], dict[str, Any]], processes: int
) -> int:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    (file,) = (work / "raw").iterdir()
    cache = str(work / "map")
    rows = load_dataset("json", data_files=str(file), split="train", cache_dir=cache)
    with clock.running():
        mapped = rows.map(tokenize, num_proc=processes if processes > 1 else None)
    return len(mapped)


CONTESTANTS: Mapping[str, Callable[[Clock, Path, Path, int], int]] = {
    "format": format_rows,
    "render": render_rows,
    "tokenizer": bare_tokenizer,
    "map": map_rows,
    "bare_map": bare_map_rows,
}


def main() -> None:
    """Run the contestant that the command line names."""
    name, work, model, processes = sys.argv[1:]
    clock = Clock()
    rows = CONTESTANTS[name](clock, Path(work), Path(model), int(processes))
    told = {"seconds": clock.seconds, "processor_seconds": clock.processor_seconds}
    print(json.dumps({"rows": rows, **told}))


if __name__ == "__main__":
    main()
