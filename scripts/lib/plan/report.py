"""The end of the graph: the comparison and the report of all candidates."""

from typing import Any

from scripts.lib.artifacts.graph import Graph
from scripts.lib.config.benchmarks import MmluOptions
from scripts.lib.config.held_out import HeldOut
from scripts.lib.config.judged_pairs import JudgedPairs
from scripts.lib.config.load import Config


def add_report(graph: Graph, config: Config) -> str:
    """Add the comparison and the report of all candidates; return the report's id."""
    named = [
        {"name": c.name, "kind": c.kind, "base": c.base, "unmerged": c.unmerged}
        for c in graph.candidates
    ]
    scored = [
        {
            **words,
            "scores": dict(c.scores),
            "categories": dict(c.categories),
            "judgements": dict(c.judgements),
        }
        for words, c in zip(named, graph.candidates, strict=True)
    ]
    shown = [
        {
            **words,
            "artifacts": dict(c.artifacts),
            "scores": dict(c.scores),
            "judgements": dict(c.judgements),
        }
        for words, c in zip(named, graph.candidates, strict=True)
    ]
    held_out = [name for name, b in config.benchmarks.items() if isinstance(b, HeldOut)]
    judged = [name for name, b in config.benchmarks.items() if isinstance(b, JudgedPairs)]
    counted = [name for name in config.benchmarks if name not in (*held_out, *judged)]
    categories = _unique(id for c in graph.candidates for id in c.categories.values())
    kinds = [benchmark.kind for benchmark in config.benchmarks.values()]
    comparison = graph.add(
        "comparisons",
        "all",
        {
            "candidates": scored,
            "benchmarks": counted,
            "held_out": held_out,
            "judged": judged,
        },
        reads={"categories": categories},
        knows={"chain": _chain(graph)},
        kinds=kinds,
    )
    legacy = {
        name: benchmark.subjects
        for name, benchmark in config.benchmarks.items()
        if config.report.legacy_results and isinstance(benchmark, MmluOptions)
    }
    written = [{"benchmark": name, "subjects": subjects} for name, subjects in legacy.items()]
    predictions = _unique(id for c in graph.candidates for name in legacy for id in c.scores[name])
    return graph.add(
        "reports",
        "all",
        {"title": config.report.title, "candidates": shown, "legacy": written},
        reads={"comparison": comparison} | ({"scores": predictions} if legacy else {}),
        knows={"facts": _chain(graph)},
        kinds=kinds,
    )


def _chain(graph: Graph) -> tuple[str, ...]:
    """Return the artifacts whose manifests the comparison joins and the report shows."""
    return _unique(
        id
        for candidate in graph.candidates
        for id in (
            *candidate.artifacts.values(),
            *(score for ids in candidate.scores.values() for score in ids),
            *candidate.judgements.values(),
            *(
                judge
                for judged in candidate.judgements.values()
                for judge in graph.artifacts[judged].reads.get("judge", ())
            ),
        )
    )


def _unique(ids: Any) -> tuple[str, ...]:
    """Return *ids* without repetitions, in order."""
    return tuple(dict.fromkeys(ids))
