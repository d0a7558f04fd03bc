"""What the report shows of each training: verdict, settings, curves and answers."""

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

from markupsafe import Markup

from scripts.lib.report.charts import TrainingEvent, loss_chart, sets_of
from scripts.lib.report.manifests import (
    Facts,
    Manifests,
    ReportedCandidate,
    Spec,
    TrainingAnswer,
    facts_of,
    users_of,
)
from scripts.lib.report.scores import Mark
from scripts.lib.train.mixture_document import Given

MOST_CHARTS = 12
"""Trainings whose losses are drawn; those of all stand in tables."""

MOST_LOSSES = 12
"""Rows of such a table."""

_SHOWN_ROWS = 4  # the others stand in answers.jsonl beside the weights


class AnswersView(TypedDict):
    """What a model in training answered, before and after."""

    steps: list[int]
    rows: list[dict[str, Any]]


class LossTable(TypedDict):
    """The numbers of a chart of losses: steps from top to bottom."""

    caption: str
    headings: list[str]
    rows: list[list[str]]


class TrainingView(TypedDict):
    """One adapter or model: how its training went.

    Attributes:
        datasets: Of several datasets what each gave: heading -> value.
    """

    who: str
    verdict: Mark
    evidence: str
    remedy: str
    settings: list[tuple[str, str]]
    chart: Markup | None
    losses: LossTable | None
    answers: AnswersView | None
    datasets: list[dict[str, str]]


def trainings(
    candidates: Sequence[ReportedCandidate], manifests: Manifests, *, texts: bool = True
) -> list[TrainingView]:
    """Return loss curve, verdict and settings of each adapter, and of each model as a whole.

    Args:
        candidates: All of them.
        manifests: Manifests by artifact id.
        texts: Whether answers to held-out rows may be shown.
    """
    views: list[TrainingView] = []
    stages = ("adapters", "trained")
    for id_, who in (user for stage in stages for user in users_of(candidates, stage)):
        facts = facts_of(manifests, id_)
        if "verdict" not in facts:
            continue
        verdict = facts["verdict"]
        drawn = len(views) < MOST_CHARTS
        label = f"{who}: loss over steps; its table has the numbers"
        chart = loss_chart(facts["history"], label=label) if drawn else None
        views.append(
            {
                "who": who,
                "verdict": _training_mark(verdict["verdict"]),
                "evidence": verdict["evidence"],
                "remedy": verdict["remedy"],
                "settings": [
                    *_start(candidates, id_),
                    *_settings(manifests[id_]["spec"], facts),
                ],
                # Finished markup: matplotlib has escaped what is in it.
                "chart": Markup(chart) if chart else None,
                "losses": _loss_table(facts["history"]) if chart or not drawn else None,
                "answers": _answers_view(facts.get("answers", []) if texts else []),
                "datasets": list(_datasets(candidates, id_, facts.get("mixture", []))),
            }
        )
    return views


def _loss_table(history: Sequence[TrainingEvent]) -> LossTable:
    """Return the losses at the evaluations, or at some steps where there was none."""
    sets = sets_of(history)
    losses: dict[int, list[float | None]] = {}
    train: float | None = None
    for event in history:
        train = event.get("loss", train)
        found = event.get("set_losses", {})
        others = [event.get("valid_loss"), *(found.get(name) for name in sets)]
        if "valid_loss" in event or found:
            earlier = losses.get(event["step"], [None, *([None] * len(others))])
            others = [
                new if new is not None else old
                for new, old in zip(others, earlier[1:], strict=True)
            ]
        elif event["step"] in losses:
            continue
        losses[event["step"]] = [train, *others]
    evaluated = {step for step, row in losses.items() if any(one is not None for one in row[1:])}
    steps = sorted(evaluated or losses)
    every = max(1, -(-len(steps) // MOST_LOSSES))
    shown = [*steps[:-1:every], *steps[-1:]]
    caption = "Nats per token" + (f"; {len(shown)} of {len(steps):,} steps" if every > 1 else "")
    return {
        "caption": caption,
        "headings": ["Step", "Train", "Held out", *sets],
        "rows": [
            [f"{step:,}", *("" if one is None else f"{one:.4f}" for one in losses[step])]
            for step in shown
        ],
    }


def _answers_view(answers: Sequence[TrainingAnswer]) -> AnswersView | None:
    """Return the answers to a few rows, those of each step beside one another."""
    if not answers:
        return None
    steps = sorted({answer["step"] for answer in answers})
    names = list(dict.fromkeys(answer["row"] for answer in answers))[:_SHOWN_ROWS]
    rows = []
    for name in names:
        told = {answer["step"]: answer for answer in answers if answer["row"] == name}
        first = next(iter(told.values()))
        rows.append(
            {
                "row": name,
                "prompt": first["prompt"],
                "reference": first["reference"],
                "answers": [told.get(step) for step in steps],
            }
        )
    return {"steps": steps, "rows": rows}


def _training_mark(verdict: str) -> Mark:
    word = verdict.replace("_", " ")
    if verdict == "healthy":
        return {"word": word, "sign": "✓", "css": "passed"}
    broken = verdict in ("not_a_number", "diverging")
    return {"word": word, "sign": "✗" if broken else "!", "css": "failed" if broken else "look"}


def _start(candidates: Sequence[ReportedCandidate], id_: str) -> Iterator[tuple[str, str]]:
    """Yield the adapter that a training went on from, by its name."""
    named = "given_adapters"
    starts = [
        c.artifacts[named]
        for c in candidates
        if id_ in c.artifacts.values() and named in c.artifacts
    ]
    for one in candidates:
        if one.kind == "adapter" and one.artifacts[named] in starts:
            yield "Went on from", one.name
            return


def _datasets(
    candidates: Sequence[ReportedCandidate], id_: str, mixture: Sequence[Given]
) -> Iterator[dict[str, str]]:
    """Yield what each dataset gave to a training, by the names that its first run gives them."""
    user = next(one for one in candidates if id_ in one.artifacts.values())
    names = [one["name"] for one in user.datasets] or ["its dataset"]
    for name, gave in zip(names, mixture, strict=bool(mixture)):
        left_out = gave["rows_there"] - gave["different_rows"]
        times = gave["rows"] / max(1, gave["different_rows"])
        asked = gave["share_asked"]
        yield {
            "Dataset": name,
            "Share of trained tokens": f"{gave['share']:.2%}",
            "Asked": "" if asked is None else f"{asked:.2%}",
            "Trained tokens": f"{gave['trained_tokens']:,}",
            "Tokens": f"{gave['tokens']:,}",
            "Rows read in an epoch": f"{gave['rows']:,}",
            "Different rows": f"{gave['different_rows']:,}",
            "Each read": f"{times:.3g} times",
            "Left out": f"{left_out:,}",
            "of these held out by another": f"{gave['held_out_elsewhere']:,}",
            "In another, too": f"{gave['also_elsewhere']:,}",
            "Held-out rows measured": f"{gave['held_out']:,} of {gave['held_out_there']:,}",
        }


def _settings(spec: Spec, facts: Facts) -> Iterator[tuple[str, str]]:
    training = spec["training"]
    if "lora" in spec:
        lora = facts.get("lora", spec["lora"])
        yield "LoRA", f"r {lora['r']}, alpha {lora['alpha']}, dropout {lora['dropout']}"
    else:
        yield "Full fine-tune", f"saved in {facts['saved_dtype']}"
    yield "Parameters", f"{facts['trainable_parameters']:,} trained"
    if experts := facts.get("untrained_experts"):
        yield "Experts", f"{experts:,} numbers not trained (lora.target_parameters: experts)"
    yield "Learning rate", f"{training['learning_rate']:g}, {training['scheduler']}"
    kept = "" if facts["kept_step"] == facts["steps"] else f", kept step {facts['kept_step']:,}"
    yield "Steps", f"{facts['steps']:,} of {training['batch_size']} sequences{kept}"
    passes = max(
        (e["epoch"] for e in facts["history"] if e["step"] <= facts["kept_step"]), default=0
    )
    yield "Rows", f"{facts['train_rows']:,} with {facts['trained_tokens']:,} trained tokens"
    yield "Epochs", f"{passes:.3g}"
    for name in sets_of(facts["history"]):
        measured = [e for e in facts["history"] if name in e.get("set_losses", {})]
        kept_losses = [e["set_losses"][name] for e in measured if e["step"] <= facts["kept_step"]]
        first, last = kept_losses[0], kept_losses[-1]
        told = [f"{loss:.3f}" if loss is not None else "no number" for loss in (first, last)]
        yield f"Loss on {name}", f"{told[0]} before, {told[1]} at the kept step"
    arithmetic = facts.get("arithmetic", training["dtype"])
    computed = "" if arithmetic == training["dtype"] else f", computed in {arithmetic}"
    yield "Seed, precision", f"{training['seed']}, {training['dtype']}{computed}"
