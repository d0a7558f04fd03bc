"""The end of the graph: the comparison of all candidates, and the report."""

from collections.abc import Sequence
from typing import Any

from scripts.lib.artifacts.graph import Candidate, Graph
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.benchmarks.held_out.options import HeldOut
from scripts.lib.benchmarks.judged_pairs.options import JudgedPairs
from scripts.lib.benchmarks.mmlu.options import MmluOptions
from scripts.lib.canonical import canonical_json
from scripts.lib.config.load import Config
from scripts.lib.plan.budget import budget_spec
from scripts.lib.plan.contamination import Contamination


def add_report(graph: Graph, config: Config, contamination: Contamination) -> str:
    """Add the comparison and the report of all candidates; return the report's id."""
    searches = {c.name: dict(contamination.searches(c.trained_on)) for c in graph.candidates}
    counted = _counted(config)
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
            "group": c.group,
            "trained_on": _trained_on(graph, c),
            "searches": searches[c.name],
            "data_known": c.data_known,
        }
        for words, c in zip(named, graph.candidates, strict=True)
    ]
    shown = [
        {
            **words,
            "artifacts": dict(c.artifacts),
            **({"datasets": [dict(one) for one in c.datasets]} if c.datasets else {}),
            "scores": dict(c.scores),
            "judgements": dict(c.judgements),
            "categories": {name: id for name, id in c.categories.items() if name in counted},
            "searches": {name: ids for name, ids in searches[c.name].items() if name in counted},
        }
        for words, c in zip(named, graph.candidates, strict=True)
    ]
    held_out = [name for name, b in config.benchmarks.items() if isinstance(b, HeldOut)]
    judged = [name for name, b in config.benchmarks.items() if isinstance(b, JudgedPairs)]
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
            **({"noise_nats": noise} if (noise := config.report.noise()) else {}),
            **_texts(config),
            **budget_spec(config),
        },
        reads={
            "categories": categories,
            "searches": _unique(i for f in searches.values() for ids in f.values() for i in ids),
        },
        knows={"chain": _chain(graph)},
        kinds=kinds,
    )
    legacy = {
        name: benchmark.subjects
        for name, benchmark in config.benchmarks.items()
        if config.report.legacy_results and isinstance(benchmark, MmluOptions)
    }
    written = [{"benchmark": name, "subjects": subjects} for name, subjects in legacy.items()]
    examples = _unique(id for c in graph.candidates for id in c.made_in("examples"))
    return graph.add(
        "reports",
        "all",
        {
            "title": config.report.title,
            "candidates": shown,
            "legacy": written,
            "questions": [
                {"benchmark": name, "questions": id}
                for name, id in _questions(config, contamination).items()
            ],
            **_texts(config),
        },
        reads={
            "comparison": comparison,
            "examples": examples,
            **_single_questions(graph, config, contamination, counted),
        },
        knows={"facts": _chain(graph)},
        kinds=kinds,
    )


def _texts(config: Config) -> dict[str, bool]:
    """Return what a spec holds where rows may not be shown; nothing where they may."""
    return {} if config.report.texts else {"texts": False}


def _single_questions(
    graph: Graph, config: Config, contamination: Contamination, counted: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return what single questions and their answers are read from; what is not needed is no edge.

    Tasks of lm-eval are an edge of their own, since only they need its library.
    """
    of_all = [(c, name) for c in graph.candidates for name in counted]
    found = {c.name: dict(contamination.searches(c.trained_on)) for c in graph.candidates}
    edges = {
        "scores": _unique(id for c, name in of_all for id in c.scores.get(name, ())),
        "categories": _unique(c.categories[name] for c, name in of_all if name in c.categories),
        "searches": _unique(id for c, name in of_all for id in found[c.name].get(name, ())),
    }
    kinds = {name: config.benchmarks[name].kind for name in counted}
    places = _questions(config, contamination)
    edges["questions"] = _unique(id for n, id in places.items() if kinds[n] != "lm_eval")
    edges["tasks"] = _unique(id for n, id in places.items() if kinds[n] == "lm_eval")
    return {edge: ids for edge, ids in edges.items() if ids}


def _questions(config: Config, contamination: Contamination) -> dict[str, str]:
    """Return where the questions are that may be quoted, of benchmarks that are right or wrong."""
    places = contamination.benchmarks
    return {name: places[name].id for name in _counted(config) if config.report.texts}


def _counted(config: Config) -> list[str]:
    """Return the benchmarks whose questions are right or wrong."""
    special = (HeldOut, JudgedPairs)
    return [name for name, one in config.benchmarks.items() if not isinstance(one, special)]


def _trained_on(graph: Graph, candidate: Candidate) -> str | None:
    """Return what tells the conversations that a run was trained on from those of other runs.

    It is their artifact; of a mixture all of them, and what was taken of each.
    """
    chats = candidate.made_in("chat")
    if len(chats) < 2:
        return next(iter(chats), None)
    trained = (*candidate.made_in("adapters"), *candidate.made_in("trained"))
    return canonical_json([chats, graph.artifacts[trained[0]].spec["mixture"]])


def _chain(graph: Graph) -> tuple[str, ...]:
    """Return the artifacts whose manifests the comparison joins and the report shows.

    Examples are none of them: nothing is made of these but the page.
    """
    return _unique(
        id
        for candidate in graph.candidates
        for id in (
            *(id for stage in STAGES if stage != "examples" for id in candidate.made_in(stage)),
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
