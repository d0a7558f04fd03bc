"""Changes of judged pairs: of the prompts, of who answers and of who judges."""

from collections.abc import Callable, Iterable

from tests.identity.rows_config import drop, put, rename
from tests.identity.rows_files import add_constant, move_pin
from tests.identity.table import END, Row, categories, rendered
from tests.identity.world import World
from tests.identity.worlds import jsonl

BOTH = ("pairs", "paid")
JUDGES = {"pairs": "judgements", "paid": "remote_judgements"}
JUDGE_MOVED = frozenset({"models:referee"})
TUNED = frozenset({"adapters:gentle", "merged:gentle", "proofs:gentle"})


def judged(*labels: str) -> frozenset[str]:
    """Return what follows where answers are judged anew."""
    own = {f"{JUDGES[label]}:gentle/{label}" for label in labels}
    return own | categories("gentle", on=labels) | END


def answered(*names: str, on: Iterable[str] = BOTH) -> frozenset[str]:
    """Return what follows where candidates answer anew."""
    return frozenset(f"scores:{name}/{label}" for name in names for label in on) | judged(*on)


ANSWERED = answered("tiny", "gentle")
PROMPTS_SEARCHED = frozenset({"benchmarks:prompts", "contamination:orders-prompts"})
PROMPTS = PROMPTS_SEARCHED | ANSWERED


def _other_prompts(world: World) -> None:
    world.write("data/prompts/questions.jsonl", jsonl({"prompt": "Say two."}))


def _move(world: World) -> None:
    """Put the prompts elsewhere under a folder that says the same."""
    text = (world.home / "data/prompts/questions.jsonl").read_text()
    world.write("moved/prompts/questions.jsonl", text)
    for label in BOTH:
        world.config["benchmarks"][label]["path"] = "moved/prompts/questions.jsonl"


def _other_judge(world: World) -> None:
    world.write("data/referee/model.safetensors", "s" * 64)


def _rename_judge(world: World) -> None:
    rename("models", "referee", "arbiter")(world)
    world.config["benchmarks"]["pairs"]["judge"] = {"model": "arbiter"}


def _other_order(world: World) -> None:
    world.config["benchmarks"] = dict(reversed(world.config["benchmarks"].items()))


def _shorter(world: World) -> None:
    changes = {"max_new_tokens": 64, "limit": 1, "on_long_prompt": "leave_out"}
    world.config["benchmarks"]["pairs"] |= changes


def _from_dataset(world: World) -> None:
    """Ask what the run's own dataset holds out, which its training has brought into form."""
    pairs = world.config["benchmarks"]["pairs"]
    del pairs["path"]
    pairs |= {"dataset": "orders", "split": "valid"}


def _without_runs(world: World) -> None:
    """Leave nobody who stands beside a base."""
    del world.config["runs"], world.config["datasets"]


def _row(name: str, change: Callable[[World], object], missing: frozenset[str]) -> Row:
    return Row(name, change, missing, "pairs")


PAIRS_ROWS = [
    _row("prompts change", _other_prompts, PROMPTS),
    _row("prompts move", _move, frozenset()),
    _row("prompts are a split", _from_dataset, answered("tiny", "gentle", on=["pairs"])),
    _row("a run with pairs", put("runs/gentle/training/seed", 7), TUNED | answered("gentle")),
    _row(
        "a judged run stays unmerged",
        put("runs/gentle/merge", False),
        frozenset({f"scores:gentle/{label}" for label in BOTH}) | judged(*BOTH),
    ),
    _row("nobody is tuned", _without_runs, END),
    _row("another local judge", put("benchmarks/pairs/judge/model", "tiny"), judged("pairs")),
    _row("other weights of a judge", _other_judge, JUDGE_MOVED | judged("pairs")),
    _row("template of a judge", put("models/referee/template", "chatml"), judged("pairs")),
    _row(
        "template of a judged base",
        put("models/tiny/template", "chatml"),
        rendered("orders-tiny") | TUNED | ANSWERED,
    ),
    _row("a judge is renamed", _rename_judge, frozenset()),
    _row("criteria of a local judge", put("benchmarks/pairs/criteria", "X"), judged("pairs")),
    _row("criteria of a service", put("benchmarks/paid/criteria", "X"), judged("paid")),
    _row("model of a service", put("benchmarks/paid/judge/model", "huge"), judged("paid")),
    _row(
        "address of a service",
        put("benchmarks/paid/judge/endpoint", "https://other.example/v1"),
        judged("paid"),
    ),
    _row(
        "address with a slash",
        put("benchmarks/paid/judge/endpoint", "https://judge.example/v1/"),
        frozenset(),
    ),
    _row("variable of the key", put("benchmarks/paid/judge/api_key_env", "MINE"), frozenset()),
    _row("no variable of a key", drop("benchmarks/paid/judge/api_key_env"), frozenset()),
    _row(
        "longest answer, number of prompts, and those that are too long",
        _shorter,
        answered("tiny", "gentle", on=["pairs"]),
    ),
    _row(
        "on_bad_row of pairs",
        put("benchmarks/pairs/on_bad_row", "leave_out"),
        PROMPTS_SEARCHED | answered("tiny", "gentle", on=["pairs"]),
    ),
    _row(
        "dtype of pairs",
        put("benchmarks/pairs/dtype", "bfloat16"),
        answered("tiny", "gentle", on=["pairs"]),
    ),
    _row(
        "a judged benchmark is renamed",
        rename("benchmarks", "paid", "bought"),
        categories("gentle", on=["bought"]) | END,
    ),
    _row("judged benchmarks in another order", _other_order, END),
    _row("code of judge_pairs", add_constant("scripts/judge_pairs.py"), judged("pairs")),
    _row("code of ask_judge", add_constant("scripts/ask_judge.py"), judged("paid")),
    _row("code of the client", add_constant("scripts/lib/judge/service.py"), judged("paid")),
    _row("code of the prompt", add_constant("scripts/lib/judge/prompt.py"), judged(*BOTH)),
    _row(
        "code that reads verdicts",
        add_constant("scripts/lib/judge/verdicts.py"),
        categories("gentle", on=BOTH) | END,
    ),
    _row(
        "code of the judged figures",
        add_constant("scripts/lib/benchmarks/judged_pairs/scores.py"),
        categories("gentle", on=BOTH) | END,
    ),
    _row(
        "code that compares judged pairs",
        add_constant("scripts/lib/benchmarks/judged_pairs/comparison.py"),
        END,
    ),
    _row(
        "code of their section of the report",
        add_constant("scripts/lib/benchmarks/judged_pairs/report.py"),
        frozenset({"reports"}),
    ),
    _row(
        "the file of that section",
        lambda world: world.edit(
            "scripts/lib/benchmarks/judged_pairs/report.html.jinja", lambda text: text + " "
        ),
        frozenset({"reports"}),
    ),
    _row("the client's library moves in the lock", move_pin("requests"), frozenset()),
    _row(
        "scipy moves in the lock where it counts wins",
        move_pin("scipy"),
        categories("gentle", on=BOTH) | END,
    ),
    _row("lm-eval moves in the lock where pairs are judged", move_pin("lm-eval"), ANSWERED),
]
