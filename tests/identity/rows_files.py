"""Changes of the local files that the configuration names, and of the lock."""

import os
import re
import time
from collections.abc import Callable

from tests.identity.rows_config import put
from tests.identity.table import (
    CHAT,
    END,
    EXAMPLES,
    ORDERS,
    QUESTIONS,
    RUNS,
    SEARCHES,
    SHARDS,
    Row,
    categories,
    merged,
    rendered,
    scored,
    searched,
    tuned,
)
from tests.identity.world import World
from tests.identity.worlds import jsonl, question

OTHER_ROW = jsonl({"prompt": "a", "completion": "x"})

OF_MMLU = searched("orders", "chats", on=["mmlu"])
OF_HUB = "contamination:talks-plain-mmlu"
OF_EXACT = searched("orders", "chats", on=["exact"])
FROM_ORDERS = {"raw:orders"} | ORDERS | tuned("gentle", "strong") | END
FROM_CHATS_TEMPLATE = rendered("chats-tiny") | tuned("chatty") | END
# The words for people in the names of artifacts, which a report prints, come from file names.
RENAMED = END
FROM_MODEL = {"models:tiny"} | SHARDS | tuned(*RUNS) | scored("tiny") | END


def _write(name: str, text: str) -> Callable[[World], None]:
    """Return the change that writes a file of the working directory."""

    def change(world: World) -> None:
        world.write(name, text)

    return change


def _edit_in_place_with_old_times(world: World) -> None:
    """Change a row and hide it: the same inode, size, and modification time."""
    place = world.home / "data/orders/train.jsonl"
    world.write("data/orders/train.jsonl", place.read_text())  # a file of its own, no hard link
    world.missing()
    old = place.stat()
    time.sleep(0.02)  # more than the clock's tick, which a person cannot beat
    with place.open("r+") as file:
        file.write(OTHER_ROW)
    os.utime(place, ns=(old.st_atime_ns, old.st_mtime_ns))
    new = place.stat()
    assert (new.st_size, new.st_mtime_ns, new.st_ino) == (old.st_size, old.st_mtime_ns, old.st_ino)


def _touch(world: World) -> None:
    for place in (world.home / "data").rglob("*.*"):
        os.utime(place)


def _move(old: str, new: str, *keys: str) -> Callable[[World], None]:
    """Return the change that moves a file or folder, and says so under *keys*."""

    def change(world: World) -> None:
        (world.home / new).parent.mkdir(parents=True, exist_ok=True)
        (world.home / old).rename(world.home / new)
        for key in keys:
            put(key, new)(world)

    return change


def _absolute(world: World) -> None:
    """Name a file by its absolute path."""
    put("datasets/chats/path", str(world.home / "data/chats.jsonl"))(world)


def _add_pickle(world: World) -> None:
    world.write("data/tiny/pytorch_model.bin", "weights in a format that is not read")
    world.write("data/tiny/.cache", "hidden")


FILE_ROWS = [
    Row("a raw row, by its file", _write("data/orders/train.jsonl", OTHER_ROW), FROM_ORDERS),
    Row("a raw row, old size and times", _edit_in_place_with_old_times, FROM_ORDERS),
    Row("a held-out row", _write("data/orders/held_out.jsonl", OTHER_ROW), FROM_ORDERS),
    Row("raw files are touched", _touch, frozenset()),
    Row(
        "a raw file moves to another folder",
        _move("data/chats.jsonl", "elsewhere/chats.jsonl", "datasets/chats/path"),
        frozenset(),
    ),
    Row("a raw file by its absolute path", _absolute, frozenset()),
    Row(
        "a raw file is renamed",
        _move("data/chats.jsonl", "data/talks.jsonl", "datasets/chats/path"),
        RENAMED,
    ),
    Row(
        "a template's text",
        _write("data/plain.jinja", "{{ plainer(messages) }}"),
        frozenset(FROM_CHATS_TEMPLATE),
    ),
    Row(
        "a template is renamed",
        _move("data/plain.jinja", "data/simple.jinja", "runs/chatty/template"),
        frozenset(),
    ),
    Row(
        "a template that no run uses",
        _write("data/other.jinja", "{{ messages }}"),
        frozenset(),
    ),
    Row("the model's weights", _write("data/tiny/model.safetensors", "x" * 64), FROM_MODEL),
    Row("the model's tokenizer", _write("data/tiny/tokenizer.json", "{}"), FROM_MODEL),
    Row("the model gets a file", _write("data/tiny/merges.txt", "a b"), FROM_MODEL),
    Row("the model gets a pickle", _add_pickle, frozenset()),
    Row(
        "the model's folder moves",
        _move("data/tiny", "models/tiny", "models/tiny/path"),
        frozenset(),
    ),
    Row(
        "the model's folder is renamed",
        _move("data/tiny", "data/little", "models/tiny/path"),
        RENAMED,
    ),
    Row(
        "a test question",
        _write("data/mmlu/test/astronomy.jsonl", jsonl(question("another"))),
        {"benchmarks:mmlu"} | OF_MMLU | scored("tiny", *RUNS, on=["mmlu"]) | END,
    ),
    Row(
        "a dev question",
        _write("data/mmlu/dev/astronomy.jsonl", jsonl(question("another"))),
        {"benchmarks:mmlu"} | OF_MMLU | scored("tiny", *RUNS, on=["mmlu"]) | END,
    ),
    Row(
        "a question of the other benchmark",
        _write("data/exact/questions.jsonl", jsonl({"prompt": "two teas", "answer": "2 TEA"})),
        {"benchmarks:exact"} | OF_EXACT | scored("tiny", *RUNS, on=["exact"]) | END,
    ),
    Row(
        "a benchmark gets a file that is none of its questions",
        _write("data/mmlu/README.md", "x"),
        frozenset(),
    ),
]


def move_pin(library: str) -> Callable[[World], None]:
    """Return the change of one library's version in the lock."""

    def change(world: World) -> None:
        def later(text: str) -> str:
            moved, times = re.subn(rf"(?m)^({library})==[^\s;\\]+", r"\1==99.9", text)
            assert times, f"the lock does not pin {library}"
            return moved

        world.edit("requirements.lock", later)

    return change


def _pin(library: str, missing: frozenset[str], world: str = "local") -> Row:
    return Row(f"{library} moves in the lock", move_pin(library), missing, world)


ALL = ("tiny", *RUNS)
FROM_SHARDS = SHARDS | tuned(*RUNS) | scored("tiny") | END
HUB_TUNED = {f"{s}:polite" for s in ("adapters", "merged", "proofs")} | scored(
    "polite", on=["mmlu"]
)
HUB_SCORED = scored("remote", "packed", "polite", on=["mmlu"])


def _another_build(world: World) -> None:
    """Lock torch in the build for the CPU, as PyTorch names it."""
    build = r"\1+cpu"
    world.edit("requirements.lock", lambda text: re.sub(r"(?m)^(torch==[\d.]+)", build, text))
    assert "\ntorch==" in (lock := (world.root / "requirements.lock").read_text())
    assert "+cpu" in lock


PIN_ROWS = [
    Row("another build of torch in the lock", _another_build, frozenset()),
    _pin("absl-py", frozenset()),
    _pin("snakemake", frozenset()),
    _pin("huggingface-hub", frozenset()),
    _pin("trl", tuned(*RUNS) | END),
    _pin("peft", tuned(*RUNS) | END),
    _pin("torch", tuned(*RUNS) | scored("tiny") | END),
    _pin("safetensors", tuned(*RUNS) | END),
    _pin("lm-eval", scored(*ALL) | END),
    _pin("tokenizers", FROM_SHARDS),
    _pin("transformers", FROM_SHARDS),
    _pin("pyarrow", CHAT | SEARCHES | FROM_SHARDS),
    _pin("numpy", SEARCHES | END),
    _pin("scipy", END),
    _pin("matplotlib", frozenset({"reports"})),
    _pin("gguf", {"models:small"} | scored("packed", on=["mmlu"]) | END, "hub"),
    _pin(
        "datasets",
        {"raw:talks-plain", "chat:talks-plain", "benchmarks:mmlu", OF_HUB}
        | rendered("talks-plain-remote")
        | HUB_TUNED
        | HUB_SCORED
        | END,
        "hub",
    ),
    _pin("pandas", {"benchmarks:mmlu", OF_HUB} | HUB_SCORED | END, "hub"),
]


def add_constant(name: str) -> Callable[[World], None]:
    """Return the change that adds a constant to a file of the project."""
    return lambda world: world.edit(name, lambda text: text + "\nADDED = 1\n")


def _comment(world: World) -> None:
    for place in sorted((world.root / "scripts").rglob("*.py")):
        name = place.relative_to(world.root).as_posix()
        world.edit(name, lambda text: f"# a comment\n{text}\n# another\n")


def _docstrings(world: World) -> None:
    for place in sorted((world.root / "scripts").rglob("*.py")):
        name = place.relative_to(world.root).as_posix()
        world.edit(name, lambda text: text.replace('"""', '"""Said otherwise. ', 1))


def _layout(world: World) -> None:
    """Print every file of the project anew from its syntax tree."""
    import ast

    for place in sorted((world.root / "scripts").rglob("*.py")):
        name = place.relative_to(world.root).as_posix()
        world.edit(name, lambda text: ast.unparse(ast.parse(text)))


def _code(name: str, missing: frozenset[str]) -> Row:
    return Row(f"code of {name}", add_constant(f"scripts/{name}.py"), missing)


FROM_CHAT = CHAT | SEARCHES | SHARDS | tuned(*RUNS) | END
EVERYTHING = {"models:tiny", "raw:orders", "raw:chats"} | QUESTIONS | FROM_CHAT | scored("tiny")

CODE_ROWS = [
    Row("comments in every file", _comment, frozenset()),
    Row("docstrings of every module", _docstrings, frozenset()),
    Row("layout of every file", _layout, frozenset()),
    _code("fetch_model", FROM_MODEL),
    _code("fetch_dataset", {"raw:orders", "raw:chats"} | FROM_CHAT),
    _code("fetch_benchmark", QUESTIONS | SEARCHES | scored(*ALL) | END),
    _code("format_chat", FROM_CHAT),
    _code("render_shards", SHARDS | tuned(*RUNS) | END),
    _code("show_examples", EXAMPLES | {"reports"}),
    _code("lib/examples/choosing", EXAMPLES | {"reports"}),
    _code("lib/examples/page", EXAMPLES | {"reports"}),
    _code("train_adapter", tuned(*RUNS) | END),
    _code("merge_adapter", merged(*RUNS) | END),
    _code("prove_merge", {f"proofs:{run}" for run in RUNS} | END),
    _code("score_benchmark", scored(*ALL) | END),
    _code("aggregate_scores", categories(*ALL) | END),
    _code("compare_runs", END),
    _code("write_report", frozenset({"reports"})),
    # Kinds that this world has not, and one that it has.
    _code("lib/benchmarks/held_out/comparison", frozenset()),
    _code("lib/benchmarks/judged_pairs/comparison", frozenset()),
    _code("lib/benchmarks/held_out/report", frozenset()),
    _code("lib/benchmarks/judged_pairs/report", frozenset()),
    _code("lib/benchmarks/mmlu/report", frozenset({"reports"})),
    # Modules of the library: two imports away from a program, shared by several, and by none.
    _code("lib/train/loss_verdict", tuned(*RUNS) | END),
    _code("lib/train/model", tuned(*RUNS) | END),
    _code("lib/data/layouts", FROM_CHAT),
    _code("lib/fetch/datasets", frozenset(EVERYTHING)),
    _code("lib/score/respondent", scored(*ALL) | END),
    # Modules of a kind of benchmark.
    _code(
        "lib/benchmarks/mmlu/fetch",
        {"benchmarks:mmlu"} | OF_MMLU | scored(*ALL, on=("mmlu",)) | END,
    ),
    _code("find_contamination", SEARCHES | END),
    _code("drop_contaminated", frozenset()),
    _code("lib/contamination/matching", SEARCHES | END),
    _code("lib/contamination/dropping", frozenset()),
    _code("lib/benchmarks/mmlu/texts", OF_MMLU | END),
    _code("lib/compare/contamination", END),
    _code(
        "lib/benchmarks/exact_match/fetch",
        {"benchmarks:exact"} | OF_EXACT | scored(*ALL, on=("exact",)) | END,
    ),
    _code("lib/benchmarks/mmlu/questions", scored(*ALL, on=("mmlu",)) | END),
    _code("lib/benchmarks/exact_match/questions", scored(*ALL, on=("exact",)) | END),
    _code("lib/benchmarks/held_out/questions", frozenset()),
    _code("lib/benchmarks/multiple_choice/scores", categories(*ALL, on=("mmlu",)) | END),
    _code("lib/benchmarks/exact_match/scores", categories(*ALL, on=("exact",)) | END),
    _code("lib/benchmarks/lm_eval/scores", frozenset()),
    _code("lib/errors", frozenset()),
    _code("lib/jobs/job", frozenset()),
    _code("lib/plan/missing", frozenset()),
    _code("lib/artifacts/store", frozenset()),
    _code("lib/plan/build_graph", frozenset()),
    _code("lib/config/runs", frozenset()),
    Row(
        "a file that no program imports",
        add_constant("scripts/lib/artifacts/upkeep.py"),
        frozenset(),
    ),
]

DISK_ROWS = [*FILE_ROWS, *PIN_ROWS, *CODE_ROWS]
