"""Write the report: one page that works offline and shows the comparison and all its evidence."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from scripts.lib.benchmarks.kinds import load
from scripts.lib.compare.document import SECTIONS, Comparison, parts_of, sections
from scripts.lib.examples.document import Examples
from scripts.lib.examples.page import token_style
from scripts.lib.report.budget import budget_view
from scripts.lib.report.contamination import contamination_template, contamination_view
from scripts.lib.report.costs import costs
from scripts.lib.report.drill_down import FlipsLink, RowFolders, write_drill_down
from scripts.lib.report.evidence import contracts, existing, merge_proofs, provenance
from scripts.lib.report.folded import Folded
from scripts.lib.report.ledgers import ledgers
from scripts.lib.report.manifests import Manifest, ReportedCandidate
from scripts.lib.report.opening import opening, reading
from scripts.lib.report.scores import answers, benchmark_views, comparisons, count_words, notes
from scripts.lib.report.seeds import seed_answers, seeds_view
from scripts.lib.report.serving import serving
from scripts.lib.report.sweeps import sweeps
from scripts.lib.report.trained_on import trained_on
from scripts.lib.report.trainings import MOST_CHARTS, trainings

MOST_ANSWERS = 12
"""Answers that stand open; all others are folded below them."""


@dataclass(frozen=True, kw_only=True)
class Legacy:
    """A benchmark whose results are written in LLaMA-Factory's old layout too.

    Attributes:
        benchmark: Its name.
        subjects: Only these subjects, or None for all that were scored.
    """

    benchmark: str
    subjects: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class ReportSpec:
    """What decides the bytes of a report, beside the comparison and the manifests.

    Attributes:
        title: Heading of the page.
        candidates: All of them.
        legacy: Benchmarks to write in the old layout too.
        questions: Benchmark -> artifact id of its questions, of those that are shown one by one.
        texts: Whether rows of datasets and benchmarks, and what models said, may be shown.
    """

    title: str
    legacy: tuple[Legacy, ...]
    candidates: tuple[ReportedCandidate, ...]
    questions: Mapping[str, str] = field(default_factory=dict)
    texts: bool = True

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> "ReportSpec":
        """Build the spec from parsed JSON; keys of a candidate that no report needs are left."""
        candidates = tuple(
            ReportedCandidate(
                name=item["name"],
                kind=item["kind"],
                base=item["base"],
                unmerged=item["unmerged"],
                artifacts=item["artifacts"],
                scores={benchmark: tuple(ids) for benchmark, ids in item["scores"].items()},
                judgements=item["judgements"],
                datasets=item.get("datasets", ()),
                categories=item.get("categories", {}),
                searches={name: tuple(ids) for name, ids in item.get("searches", {}).items()},
            )
            for item in mapping["candidates"]
        )
        return cls(
            title=mapping["title"],
            legacy=tuple(Legacy(**entry) for entry in mapping["legacy"]),
            candidates=candidates,
            questions={
                item["benchmark"]: item["questions"] for item in mapping.get("questions", ())
            },
            texts=mapping.get("texts", True),
        )


def write_report(
    spec: ReportSpec,
    comparison: Path,
    manifests: Mapping[str, Manifest],
    out: Path,
    *,
    scores: Mapping[str, Path],
    examples: Mapping[str, Path],
    plan: str | None = None,
    rows: RowFolders | None = None,
    processes: int = 1,
) -> dict[str, int]:
    """Write `index.html` and what lies beside it.

    That is `flips/` and `rows/` with single questions (drill_down.py), and
    `legacy/{benchmark}/{candidate}/` where that is asked for.

    Args:
        spec: Title and candidates.
        comparison: Folder of `compare_runs`.
        manifests: Manifest of every artifact that the spec names; sections whose facts are
            missing are left out.
        out: Existing empty folder.
        scores: Folders of the scoring jobs of the benchmarks in `spec.legacy`, by artifact id.
        examples: Folders of `show_examples`, by artifact id.
        plan: The plan that this is made under; it tells what was found from what was made.
        rows: Folders of questions and answers; None for the first page alone.
        processes: How many write pages of single questions.

    Returns:
        `{"runs", "benchmarks"}`, how many the page shows.
    """
    text = (comparison / "comparison.json").read_text(encoding="utf-8")
    document: Comparison = json.loads(text)
    shown_examples: dict[str, Examples] = {
        id_: json.loads((folder / "examples.json").read_text(encoding="utf-8"))
        for id_, folder in examples.items()
    }
    pages: Mapping[str, Sequence[FlipsLink]] = {}
    if rows:
        pages = write_drill_down(
            document,
            spec.candidates,
            spec.questions,
            rows,
            out,
            texts=spec.texts,
            processes=processes,
        )
    page = render_page(spec, document, manifests, shown_examples, plan, pages)
    (out / "index.html").write_text(page, encoding="utf-8")
    for legacy in spec.legacy:
        own = load("write_report", "mmlu")
        tallies = document["benchmarks"][legacy.benchmark]["candidates"]
        for candidate in spec.candidates:
            folders = [scores[id] for id in candidate.scores[legacy.benchmark]]
            place = out / "legacy" / legacy.benchmark / candidate.name
            own.write_legacy(tallies[candidate.name], folders, place, subjects=legacy.subjects)
    runs = sum(candidate.kind != "base" for candidate in spec.candidates)
    found = sections(document)
    shown = len(document["benchmarks"]) + sum(len(section) for section in found.values())
    return {"runs": runs, "benchmarks": shown}


def render_page(
    spec: ReportSpec,
    document: Comparison,
    manifests: Mapping[str, Manifest],
    examples: Mapping[str, Examples] = MappingProxyType({}),
    plan: str | None = None,
    pages: Mapping[str, Sequence[FlipsLink]] = MappingProxyType({}),
) -> str:
    """Return the page as HTML.

    Args:
        spec: Title and candidates.
        document: The parsed `comparison.json`.
        manifests: Manifests by artifact id.
        examples: Documents of `show_examples` by artifact id.
        plan: The plan that the page is made under.
        pages: Benchmark -> pages of the questions that flipped.
    """
    found = sections(document)
    parts = parts_of("write_report", found)
    folded = Folded.of(document)
    made = comparisons(document) + sum(parts[name].comparisons(found[name]) for name in parts)
    view: dict[str, object] = {
        "title": spec.title,
        "css": Markup(
            Path(__file__).with_name("page.css").read_text(encoding="utf-8") + token_style()
        ),
        "opening": opening(document),
        "most_answers": MOST_ANSWERS,
        "answers": [
            *seed_answers(document),
            *answers(document),
            *(
                answer
                for name, part in parts.items()
                for answer in part.answers(found[name], folded)
            ),
        ],
        "notes": [
            *notes(document),
            *(note for name, part in parts.items() for note in part.notes(found[name])),
        ],
        "reading": reading(
            document,
            count_words(made),
            held_out=bool(document["held_out"]),
            judged=bool(document["judged"]),
        ),
        "benchmarks": benchmark_views(document),
        **{name: [] for name in SECTIONS},
        **{
            name: part.views(found[name], document["candidates"], folded)
            for name, part in parts.items()
        },
        "sweeps": sweeps(document, spec.candidates, manifests),
        "seeds": seeds_view(document),
        "budget": budget_view(document),
        "contamination": contamination_view(document),
        "most_charts": MOST_CHARTS,
        "pages": pages,
        "trainings": trainings(spec.candidates, manifests, texts=spec.texts),
        "ledgers": ledgers(spec.candidates, manifests),
        "trained_on": trained_on(spec.candidates, examples) if spec.texts else [],
        "contracts": contracts(spec.candidates, manifests),
        "proofs": merge_proofs(spec.candidates, manifests),
        "existing": existing(spec.candidates, manifests),
        "serving": serving(spec.candidates, manifests),
        "provenance": provenance(spec.candidates, manifests),
        "costs": costs(spec.candidates, manifests, plan),
    }
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=DictLoader(
            {
                "page": Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8"),
                "contamination": contamination_template(),
                **{name: part.template() for name, part in parts.items()},
            }
        ),
    )
    return environment.get_template("page").render(view, sections=_sections(view)) + "\n"


def _sections(view: Mapping[str, object]) -> list[tuple[str, str]]:
    present = {
        "answer": ("Answer", True),
        "budget": ("Budget", view["budget"]),
        "held-out": ("Domain", view["held_out"]),
        "scores": ("Scores", view["benchmarks"]),
        "sweeps": ("One setting at a time", view["sweeps"]),
        "judged": ("Judged pairs", view["judged"]),
        "seeds": ("Several seeds", view["seeds"]),
        "contamination": ("Contamination", view["contamination"]),
        "training": ("Training", view["trainings"]),
        "data": ("Data", view["ledgers"]),
        "trained-on": ("What was trained on", view["trained_on"]),
        "proofs": ("Proofs", view["contracts"] or view["proofs"] or view["existing"]),
        "serve": ("Serving", view["serving"]),
        "provenance": ("Provenance", True),
        "cost": ("Time and memory", view["costs"]),
    }
    return [(anchor, name) for anchor, (name, there) in present.items() if there]
