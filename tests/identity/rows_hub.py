"""Changes of what is fetched from the hub, and of models in GGUF files."""

from tests.identity.rows_config import put
from tests.identity.table import END, Row, rendered, scored
from tests.identity.world import World

EVERYTHING_POLITE = (
    rendered("talks-plain-remote")
    | {"adapters:polite", "merged:polite", "proofs:polite"}
    | scored("polite", on=["mmlu"])
    | END
)

TALKS = (
    frozenset({"raw:talks-plain", "chat:talks-plain", "contamination:talks-plain-mmlu"})
    | EVERYTHING_POLITE
)

REMOTE = frozenset({"models:remote"}) | scored("remote", on=["mmlu"]) | EVERYTHING_POLITE

FAR = (
    frozenset({"benchmarks:mmlu", "contamination:talks-plain-mmlu"})
    | scored("remote", "packed", "polite", on=["mmlu"])
    | END
)


def _renamed_slug(words: frozenset[str], old: str, new: str) -> frozenset[str]:
    return frozenset(word.replace(old, new) for word in words)


def _replace_gguf(world: World) -> None:
    world.write("data/packed/small.gguf", "other weights")


def _move_gguf(world: World) -> None:
    world.write("data/moved/small.gguf", "weights")
    put("models/packed/path", "data/moved")(world)


HUB_ROWS = [
    Row("hub model's revision", put("models/remote/revision", "d" * 40), REMOTE, "hub"),
    Row("hub model's code is trusted", put("models/remote/trust_remote_code", True), REMOTE, "hub"),
    Row("another owner's hub model", put("models/remote/hub", "other/remote"), REMOTE, "hub"),
    Row("hub dataset's revision", put("datasets/talks/revision", "d" * 40), TALKS, "hub"),
    Row("hub model's template", put("models/remote/template", "chatml"), EVERYTHING_POLITE, "hub"),
    Row(
        "a template that nobody is asked through",
        put("models/packed/template", "chatml"),
        frozenset(),
        "hub",
    ),
    Row("another owner's hub dataset", put("datasets/talks/hub", "other/talks"), TALKS, "hub"),
    Row("hub dataset's splits", put("datasets/talks/splits", {"train": "all"}), TALKS, "hub"),
    Row(
        "hub dataset's subset",
        put("datasets/talks/name", "other"),
        _renamed_slug(TALKS, "talks-plain", "talks-other"),
        "hub",
    ),
    Row("hub benchmark's revision", put("benchmarks/mmlu/revision", "d" * 40), FAR, "hub"),
    Row("hub benchmark's bad rows", put("benchmarks/mmlu/on_bad_row", "leave_out"), FAR, "hub"),
    Row("another owner's hub benchmark", put("benchmarks/mmlu/hub", "other/mmlu"), FAR, "hub"),
    Row(
        "the GGUF file is replaced",
        _replace_gguf,
        frozenset({"models:small"}) | scored("packed", on=["mmlu"]) | END,
        "hub",
    ),
    Row(
        "the GGUF file moves",
        _move_gguf,
        frozenset(),
        "hub",
    ),
]
