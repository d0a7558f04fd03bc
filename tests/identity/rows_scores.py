"""Changes of how models are asked, and of the report."""

from typing import Any

from tests.identity.rows_config import drop, put, rename, reverse
from tests.identity.table import END, RUNS, Row, categories, scored, searched
from tests.identity.world import World


def _mmlu(key: str, value: Any) -> Row:
    """Return the row of an option of how the first benchmark is asked."""
    missing = scored("tiny", *RUNS, on=["mmlu"]) | END
    return Row(f"mmlu {key}", put(f"benchmarks/mmlu/{key}", value), missing)


def _exact(key: str, value: Any) -> Row:
    """Return the row of an option of how the second benchmark is asked."""
    missing = scored("tiny", *RUNS, on=["exact"]) | END
    return Row(f"exact_match {key}", put(f"benchmarks/exact/{key}", value), missing)


ONLY_JUDGED = categories("tiny", *RUNS, on=["exact"]) | END


def _other_pattern(world: World) -> None:
    world.config["benchmarks"]["exact"] |= {"metric": "regex", "pattern": "= (.*)"}


ONLY_CATEGORIES = categories("tiny", *RUNS, on=["mmlu"]) | END

SCORE_ROWS = [
    _mmlu("shots", 0),
    _mmlu("chat_template", True),
    _mmlu("limit", 1),
    _mmlu("dtype", "bfloat16"),
    _mmlu("on_long_prompt", "fewer_shots"),
    _mmlu("backend", "hf"),
    _exact("chat_template", False),
    _exact("limit", 1),
    _exact("dtype", "bfloat16"),
    _exact("max_new_tokens", 8),
    _exact("template_arguments", {"enable_thinking": False}),
    Row(
        "no arguments for exact_match, in words",
        put("benchmarks/exact/template_arguments", {}),
        frozenset(),
    ),
    Row(
        "mmlu on_bad_row",
        put("benchmarks/mmlu/on_bad_row", "leave_out"),
        frozenset({"benchmarks:mmlu"})
        | searched("orders", "chats", on=["mmlu"])
        | scored("tiny", *RUNS, on=["mmlu"])
        | END,
    ),
    Row(
        "exact_match on_bad_row",
        put("benchmarks/exact/on_bad_row", "leave_out"),
        frozenset({"benchmarks:exact"})
        | searched("orders", "chats", on=["exact"])
        | scored("tiny", *RUNS, on=["exact"])
        | END,
    ),
    Row("bad rows are refused, in words", put("benchmarks/mmlu/on_bad_row", "error"), frozenset()),
    Row("metric", put("benchmarks/exact/metric", "numeric"), ONLY_JUDGED),
    Row("metric without case", put("benchmarks/exact/ignore_case", True), ONLY_JUDGED),
    Row("another pattern of a metric", _other_pattern, ONLY_JUDGED),
    Row("category map", put("benchmarks/mmlu/categories", "lm-eval"), ONLY_CATEGORIES),
    Row(
        "a subject fewer",
        put("benchmarks/mmlu/subjects", ["anatomy", "astronomy", "philosophy"]),
        ONLY_CATEGORIES,
    ),
    Row(
        "a whole category fewer",
        put("benchmarks/mmlu/subjects", ["astronomy", "college_physics"]),
        ONLY_CATEGORIES,
    ),
    Row(
        "subjects more, which were never scored",
        drop("benchmarks/mmlu/subjects"),
        scored("tiny", *RUNS, on=["mmlu"]) | END,
    ),
    Row(
        "subjects in another order",
        lambda world: world.config["benchmarks"]["mmlu"]["subjects"].reverse(),
        frozenset(),
    ),
    Row(
        "a benchmark is renamed",
        rename("benchmarks", "mmlu", "knowledge"),
        categories("tiny", *RUNS, on=["knowledge"]) | END,
    ),
    Row("a benchmark is removed", drop("benchmarks/exact"), END),
    Row("benchmarks in another order", reverse("benchmarks"), END),
    Row(
        "a benchmark is added",
        put(
            "benchmarks/short",
            {"kind": "exact_match", "path": "data/exact/questions.jsonl", "limit": 1},
        ),
        scored("tiny", *RUNS, on=["short"]) | END,
    ),
    Row("results in the old layout", put("report/legacy_results", True), frozenset({"reports"})),
    Row("rows may not be shown", put("report/texts", False), END),
    Row("the noise of scoring", put("report/noise_nats", {"bfloat16": 0.1}), END),
    Row("a budget", put("report/budget", {"mmlu": {"average": -1.0}}), END | {"budgets"}),
    Row("report title", put("report/title", "Another title"), frozenset({"reports"})),
]
