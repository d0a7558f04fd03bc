"""Keys: what they are made of, and that equal work is one artifact."""

import re

import pytest

from scripts.lib.artifacts.graph import Artifact, Gate, Graph, slug_of_path, slugify
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.canonical import digest
from scripts.lib.errors import ConfigError

LOCK = {library: "1" for stage in STAGES.values() for library in stage.libraries}


def new_graph(lock=LOCK, **code) -> Graph:
    return Graph(lambda rule, kinds: code.get(rule, "code"), lock)


def chat_of(graph: Graph, *, text: str = "r", spec=None, **more) -> str:
    raw = graph.add("raw", "rows", {"source": "path", "files": {"train.jsonl": text}})
    return graph.add("chat", "rows", spec or {"format": "auto"}, reads={"raw": raw}, **more)


def test_a_key_is_the_digest_of_stage_spec_code_pins_and_the_keys_of_the_inputs():
    graph = new_graph()
    chat = graph.artifacts[chat_of(graph)]
    (raw,) = chat.reads["raw"]
    assert chat.key == digest(
        {
            "stage": "chat",
            "spec": {"format": "auto"},
            "code": "code",
            "pins": {"pyarrow": "1"},
            "inputs": {"raw": [graph.artifacts[raw].key]},
        }
    )
    assert chat.id == f"chat/rows-{chat.key}"


@pytest.mark.parametrize(
    "other",
    [
        lambda: chat_of(new_graph(), spec={"format": "alpaca"}),
        lambda: chat_of(new_graph(), text="other rows"),
        lambda: chat_of(new_graph(format_chat="new")),
        lambda: chat_of(new_graph(fetch_dataset="new")),
        lambda: chat_of(new_graph({**LOCK, "pyarrow": "2"})),
    ],
    ids=["spec", "input", "code", "code of the input", "pin"],
)
def test_each_of_them_gives_another_key(other):
    assert chat_of(new_graph()) != other()


def test_libraries_of_other_stages_and_gates_and_sources_do_not_count():
    plain = chat_of(new_graph())
    assert plain == chat_of(new_graph({**LOCK, "torch": "2", "datasets": "9"}))
    assert plain == chat_of(new_graph(train_adapter="new"))
    assert plain == chat_of(new_graph(), gates=[Gate("ledger", "raw/x", 0.1)])
    assert plain == chat_of(new_graph(), sources=["/somewhere"])


def test_the_edge_counts_by_which_an_input_comes_in():
    graph = new_graph()
    one = graph.add("raw", "a", {"source": "path", "files": {"a": "1"}})
    two = graph.add("raw", "a", {"source": "path", "files": {"a": "2"}})
    first = graph.add("proofs", "x", {}, reads={"model": one, "merged": two})
    second = graph.add("proofs", "x", {}, reads={"model": two, "merged": one})
    known = graph.add("proofs", "x", {}, reads={"model": one}, knows={"merged": two})
    assert first != second
    assert graph.artifacts[first].key == graph.artifacts[known].key


def test_equal_work_under_two_names_is_one_artifact_with_the_gates_of_both():
    graph = new_graph()
    strict, loose = Gate("ledger", "raw/x", 0.1), Gate("ledger", "raw/x", 0.5)
    first = chat_of(graph, gates=[strict])
    (raw,) = graph.artifacts[first].reads["raw"]
    again = graph.add(
        "chat", "other words", {"format": "auto"}, reads={"raw": raw}, gates=[loose, strict]
    )
    assert again == first
    assert graph.artifacts[first].gates == (strict, loose)
    assert len(graph.artifacts) == 2


def test_a_spec_from_json_gives_the_key_of_the_spec_with_tuples():
    """Jobs compute keys from a frozen plan."""
    plain = Artifact("scores", "x", {"subjects": ("a", "b")}, "code", {})
    assert plain.key == Artifact("scores", "y", {"subjects": ["a", "b"]}, "code", {}).key


def test_a_pin_that_the_lock_lacks_is_said():
    with pytest.raises(ConfigError, match="pyarrow"):
        chat_of(new_graph({}))


@pytest.mark.parametrize(
    ("stage", "source", "pinned"),
    [
        ("models", "path", False),
        ("models", "hub", False),
        ("models", "gguf", True),
        ("raw", "path", False),
        ("raw", "hub", True),
        ("benchmarks", "path", False),
        ("benchmarks", "hub", True),
    ],
)
def test_what_is_copied_as_it_is_has_no_pins(stage, source, pinned):
    graph = new_graph()
    artifact = graph.artifacts[graph.add(stage, "x", {"source": source})]
    assert bool(artifact.pins) == pinned


def test_consumers_are_those_who_read_or_know():
    graph = new_graph()
    chat = chat_of(graph)
    (raw,) = graph.artifacts[chat].reads["raw"]
    report = graph.add("reports", "all", {}, knows={"facts": [raw, chat]})
    assert graph.consumers() == {raw: [chat, report], chat: [report], report: []}


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
        ("acme/name v1.5", "acme-name-v1.5"),
        ("../../etc/passwd", "etc-passwd"),
        ("한국어", "x"),
        ("", "x"),
        ("a" * 99, "a" * 40),
        ("a" * 39 + "-b", "a" * 39),
    ],
)
def test_slugs_are_safe_parts_of_a_path(text, slug):
    assert slugify(text) == slug
    assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", slug)


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        ("data/orders/train.jsonl", "orders"),
        ("data/orders.train.jsonl", "orders"),
        ("data/orders.parquet", "orders"),
        ("mmlu", "mmlu"),
        ("mmlu/data", "mmlu"),
        ("train.jsonl", "x"),
    ],
)
def test_the_words_for_a_file_are_what_says_most(path, slug):
    assert slug_of_path(path) == slug
