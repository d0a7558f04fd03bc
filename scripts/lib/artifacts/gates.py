"""Whether an earlier artifact's finding lets a job start."""

from collections.abc import Mapping
from typing import Any

from scripts.lib.errors import GateError


def check_gate(
    kind: str, artifact: str, facts: Mapping[str, Any], limit: float | str | None
) -> None:
    """Refuse when the finding in *facts* forbids to go on.

    Args:
        kind: `ledger`, `rendering`, `contract`, `verdict`, `proof`, `unsafe_code`, `metric` or
            `chat_template`.
        artifact: Id of the artifact that holds the finding.
        facts: The facts in its manifest, or whether its files hold a `chat_template`.
        limit: Largest share of dropped rows or conversations, the metric that is asked for, or the
            key of the config that gives a model a template.

    Raises:
        GateError: with the evidence and what to do.
    """
    if kind == "ledger":
        summary = facts["summary"]
        # A repetition is no defect of the row that is kept.
        bad = summary["dropped"] - summary["by_reason"].get("duplicate", 0)
        if isinstance(limit, float | int) and bad > limit * summary["rows"]:
            raise GateError(
                f"{artifact}: {bad} of {summary['rows']} rows had to be dropped"
                f" ({summary['by_reason']}), more than max_dropped_fraction = {limit:g} allows."
                " Look into its ledger.parquet; repair the rows or raise the limit"
            )
    elif kind == "rendering":
        tokens = facts["tokens"]
        lost = sum(tokens["dropped"].values())
        if isinstance(limit, float | int) and lost > limit * tokens["conversations"]:
            raise GateError(f"{artifact}: {_lost_in_rendering(tokens, lost, limit)}")
    elif kind == "verdict":
        verdict = facts["verdict"]
        if verdict["verdict"] != "healthy":
            raise GateError(
                f"{artifact}: training looks {verdict['verdict']}: {verdict['evidence']}"
                f" {verdict['remedy']} (on_verdict: report would go on all the same)"
            )
    elif kind in ("contract", "proof"):
        finding = facts[kind]
        if not finding["passed"]:
            failed = "; ".join(
                f"{check['name']}: {check.get('evidence', '')}"
                for check in finding["checks"]
                if not check["passed"]
            )
            raise GateError(f"{artifact}: the {kind} does not hold: {failed}")
    elif kind == "unsafe_code":
        if facts["unsafe_code"]:
            raise GateError(
                f"{artifact}: {', '.join(facts['unsafe_code'])} would run programs that the model"
                " writes. Set `run_generated_code: true` for this benchmark to let them"
            )
    elif kind == "metric":
        for task, values in facts["tasks"].items():
            if values is not None and not any(
                limit in (value, value.partition(",")[0]) for value in values
            ):
                raise GateError(
                    f"{artifact}: the task {task} gives no value {limit!r} that is a mean over"
                    f" questions; it gives {', '.join(values)}"
                )
    elif kind == "chat_template":
        if not facts["chat_template"]:
            raise GateError(
                f"{artifact}: the model's tokenizer has no chat template, and it is to be asked, or"
                f" trained, through one. Set `{limit}`: chatml, or the path of a .jinja file"
            )
    else:
        raise GateError(f"{artifact}: there is no gate {kind!r}")


def _lost_in_rendering(tokens: Mapping[str, Any], lost: int, limit: float) -> str:
    """Say how many conversations got no row in the shards, why, and what helps.

    Long ones are a matter of a setting, all others one of the template or the rows.
    """
    dropped = tokens["dropped"]
    helps = ["look into its summary.json"]
    if dropped.keys() - {"too_long"}:
        helps.append("give the run a `template` that can write such rows, or repair them")
    if dropped.get("too_long"):
        helps.append("raise `training.max_length_tokens`, or cut rows with `on_too_long: truncate`")
    return (
        f"{lost} of {tokens['conversations']} conversations were dropped in rendering"
        f" ({', '.join(f'{reason} {count}' for reason, count in dropped.items())}), more than"
        f" max_dropped_fraction = {limit:g} of their dataset allows. To go on: "
        + "; ".join(helps)
        + "; or raise the limit"
    )
