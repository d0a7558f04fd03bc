"""What becomes of conversations does not depend on who renders which block, nor on how many do."""

import contextlib
import hashlib
import io
import json
import pickle
from functools import partial

import pyarrow.parquet as pq
import pytest

from scripts.lib.data import rendering
from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.formatting import format_chat
from scripts.lib.data.render_tally import Tally
from scripts.lib.data.rendered_blocks import Block, BlockRenderer
from scripts.lib.data.rendering import RenderSpec, render_shards
from scripts.lib.data.templates import Template
from scripts.tools.template_outcomes import known_templates, tokenizer_for
from tests.chat_samples import FORMAT, THINKING
from tests.tiny_model import make_tiny_model

KNOWN = {one.name: one for one in known_templates()}
SPEC = {
    "train_on": "assistant",
    "max_length_tokens": 150,
    "on_too_long": "truncate",
}


def rows():
    """Return rows that are kept, cut, dropped for several reasons, and become several."""
    for n in range(60):
        yield {"prompt": f"q{n}", "completion": f"a {n} é 日本"}
        if n % 4 == 0:
            yield {"prompt": "q" * 200, "completion": f"b{n}"}
            yield {"prompt": f"q{n}", "completion": "c" * 200}
        if n % 5 == 0:
            yield {"instruction": f"q{n}", "output": "a2", "history": [["q1", f"a{n}"]]}
            yield {"prompt": f"<|im_end|>{n}", "completion": "a"}
            yield {"prompt": f"q{n}", "completion": "a", "system": "S"}
            yield {"prompt": f"q{n}", "completion": "a", "tools": [{"name": "find"}]}


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("chat")
    (raw / "train.jsonl").write_text("\n".join(map(json.dumps, rows())))
    format_chat(FormatSpec(**FORMAT | {"valid_fraction": 0.2}), raw, out)
    return out


@pytest.fixture(scope="module")
def blocks(chat):
    with pq.ParquetFile(chat / "train.parquet") as table:
        return [Block("train", batch) for batch in table.iter_batches(batch_size=16)]


@pytest.mark.parametrize("name", KNOWN)
def test_a_block_is_rendered_alike_by_whoever_comes_to_it(blocks, name):
    spec = RenderSpec(template="tokenizer", **SPEC)
    template = Template(source=name, text=KNOWN[name].text)
    start = partial(BlockRenderer, spec, tokenizer_for(template.text), template, None)
    one = start()
    in_order = [one(block) for block in blocks]
    another = pickle.loads(pickle.dumps(start))()
    backwards = [another(block) for block in reversed(blocks)][::-1]
    for mine, other in zip(in_order, backwards, strict=True):
        assert mine.rows.equals(other.rows) and mine.tally == other.tally
        assert pickle.loads(pickle.dumps(mine)) == mine


def test_blocks_add_up_to_their_whole(blocks, chat):
    spec = RenderSpec(template="tokenizer", **SPEC)
    template = Template(source="custom:thinking", text=THINKING)
    work = BlockRenderer(spec, tokenizer_for(THINKING), template, None)
    whole = work(Block("train", pq.read_table(chat / "train.parquet").to_batches()[0])).tally
    sum_of = Tally()
    for block in blocks:
        sum_of.add(work(block).tally)
    assert sum_of.tokens() == whole.tokens() and sum_of.findings == whole.findings
    assert set(sum_of.examples) == set(whole.examples)
    assert whole.turn_by_turn and whole.truncated and whole.defused and len(whole.dropped) > 1


def test_the_bytes_and_the_log_do_not_depend_on_the_number_of_processes(
    chat, tmp_path, monkeypatch
):
    monkeypatch.setattr(rendering, "BATCH_ROWS", 16)
    monkeypatch.setattr(rendering, "BLOCKS_AT_HOME", 2)
    model = make_tiny_model(tmp_path / "model")
    found = {}
    for processes in (1, 2, 3):
        out = tmp_path / str(processes)
        out.mkdir()
        template = {"name": "thinking", "text": THINKING}
        with contextlib.redirect_stdout(io.StringIO()) as log:
            facts = render_shards(
                RenderSpec(template=template, **SPEC), chat, model, out, processes=processes
            )
        files = sorted(path for path in out.rglob("*") if path.is_file())
        digests = {
            str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }
        found[processes] = facts, log.getvalue(), digests
    assert found[1] == found[2] == found[3]
    facts, log, digests = found[1]
    assert {"summary.json", "contract.json", "train-00000.parquet"} < set(digests)
    assert facts["tokens"]["turn_by_turn"] and facts["tokens"]["truncated"]
    assert len(facts["tokens"]["dropped"]) > 1 and "dropped, " in log
