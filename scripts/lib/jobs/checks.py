"""What a job makes sure of before and after its work: plan, code, gates and inputs.

Plumbing, as job.py is: it refuses, and decides no byte.
"""

import contextlib
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.lib import files
from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.graph import Artifact
from scripts.lib.artifacts.pins import check_installed
from scripts.lib.artifacts.store import Found, Store
from scripts.lib.data.chat_template_files import has_chat_template, read_settings
from scripts.lib.errors import GateError, StaleError, StoreError
from scripts.lib.model_files import quantisation_of

REPEATED = ("duplicate", "near_duplicate", "group_of_")
"""How reasons of formatting begin that tell of no fault of a row: another stays in its place."""


def planned_artifact(entry: Mapping[str, Any]) -> Artifact:
    """Return the artifact of a plan's entry; keys of inputs are the tails of their ids."""

    def ids(edges: Mapping[str, list[list[str]]]) -> dict[str, tuple[str, ...]]:
        return {edge: tuple(source for source, _ in places) for edge, places in edges.items()}

    reads, knows = ids(entry["reads"]), ids(entry["knows"])
    artifact = Artifact(
        stage=entry["stage"],
        slug=entry["slug"],
        spec=entry["spec"],
        code=entry["code"],
        pins=entry["pins"],
        kinds=tuple(entry["kinds"]),
        reads=reads,
        knows=knows,
        keys={
            edge: tuple(id.rpartition("-")[2] for id in ids)
            for edge, ids in {**reads, **knows}.items()
        },
    )
    if artifact.key != entry["key"]:
        raise StaleError(f"the plan is damaged: {artifact.id} has the key {entry['key']} in it")
    return artifact


def check_fresh(rule: str, entry: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Compare the code, the libraries and the raw files with those of the plan.

    Returns:
        The modules that the code's digest counts, each with its own digest.

    Raises:
        StaleError: when one of them has changed since.
    """
    code = ProjectCode(root)
    if code.digest(rule, entry["kinds"]) != entry["code"]:
        raise StaleError(
            f"the code behind scripts/{rule}.py was edited since this workflow was planned; nothing"
            " was written under the old key. Start the workflow again (what was made so far stays)"
        )
    check_installed(entry["pins"])
    for path, stat in entry["sources"]:
        place = Path(path)
        if not place.exists() or list(files.stat_of(place)) != stat:
            raise StaleError(
                f"{path} was changed since this workflow was planned: start the workflow again"
            )
    return code.modules(rule, entry["kinds"])


def check_gates(entry: Mapping[str, Any]) -> None:
    """Ask every gate."""
    for kind, artifact, place, limit in entry["gates"]:
        facts = files.read_json(Path(f"{place}.json"))["facts"]
        if kind == "chat_template":
            # Found in the files, so that no model has to be fetched anew to know it; where they are
            # gone, whoever wants them looks when they are back.
            facts = {kind: not Path(place).is_dir() or has_chat_template(Path(place))}
        if kind == "quantised":
            config = Path(place) / "config.json"
            facts = {kind: quantisation_of(read_settings(config)) if config.is_file() else None}
        check_gate(kind, artifact, facts, limit)


LATENCY_SECONDS = 60.0
"""How long a shared file system may take to show what another machine has finished; the profile for
Slurm gives Snakemake as long (`latency-wait`) for the files that it knows."""


def check_inputs(
    entry: Mapping[str, Any], store: Store, late: Collection[str] = ()
) -> dict[str, list[Found]]:
    """Return every data input, after comparing the files that are read with their manifests.

    Args:
        entry: What the plan says of the artifact.
        store: Results and caches.
        late: Inputs that Snakemake knows by the token of their batch only: they are finished, and
            may not be seen yet.
    """
    for places in (*entry["reads"].values(), *entry["knows"].values()):
        for source, place in places:
            if source in late:
                _await(Path(f"{place}.json"))
    result: dict[str, list[Found]] = {}
    for edges, reads in ((entry["reads"], True), (entry["knows"], False)):
        for edge, places in edges.items():
            result[edge] = [
                _check_input(source, Path(place), store, reads=reads) for source, place in places
            ]
    return result


def _await(manifest: Path) -> None:
    """Wait until a finished artifact is seen here."""
    end = time.monotonic() + LATENCY_SECONDS
    while not manifest.exists() and time.monotonic() < end:
        os.listdir(manifest.parent)  # asks the server anew
        time.sleep(0.5)


def _check_input(id: str, folder: Path, store: Store, *, reads: bool) -> Found:
    """Return one input."""
    manifest_path = folder.with_name(f"{folder.name}.json")
    try:
        manifest = files.read_json(manifest_path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{manifest_path} cannot be read ({error}): run again") from error
    found = Found(id, folder if reads else None, manifest_path, manifest)
    if reads:
        store.verify(found)
    return found


def check_unchanged(found: Mapping[str, Sequence[Found]]) -> None:
    """Make sure that no input was made anew, of other bytes, while the job read it.

    Raises:
        StaleError: when one was. One that is gone was whole when it was read.
    """
    for item in (item for items in found.values() for item in items):
        with contextlib.suppress(OSError, ValueError):
            if files.read_json(item.manifest_path).get("content") != item.content:
                raise StaleError(f"{item.id} was made anew while this job read it: run again")


def check_gate(
    kind: str, artifact: str, facts: Mapping[str, Any], limit: float | str | None
) -> None:
    """Refuse when the finding in *facts* forbids to go on.

    Args:
        kind: `ledger`, `rendering`, `growth`, `contract`, `verdict`, `proof`, `unsafe_code`,
            `metric`, `chat_template` or `quantised`.
        artifact: Id of the artifact that holds the finding.
        facts: The facts in its manifest, whether its files hold a `chat_template`, or how they are
            `quantised`.
        limit: Largest share of dropped rows or conversations, or growth of tokens; the metric that
            is asked for; or the key of the config that gives a model, or its template.

    Raises:
        GateError: with the evidence and what to do.
    """
    if kind == "ledger":
        summary = facts["summary"]
        # A repetition is no defect of the row that is kept.
        reasons = summary["by_reason"].items()
        bad = summary["dropped"] - sum(n for reason, n in reasons if reason.startswith(REPEATED))
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
    elif kind == "growth":
        tokens = facts["tokens"]
        if isinstance(limit, float | int) and tokens["growth"] > limit:
            raise GateError(
                f"{artifact}: {tokens['turn_by_turn']} of {tokens['conversations']} conversations"
                f" became a row for each turn, which makes {tokens['growth']:g} times their tokens,"
                f" more than max_growth = {limit:g} allows. Train with `train_on: last_assistant`,"
                " or with a template that leaves earlier turns as they were, or raise the limit"
            )
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
    elif kind == "quantised":
        if how := facts["quantised"]:
            raise GateError(
                f"{limit}: {artifact} is quantised ({how}), so that its scores would tell of that"
                " rounding as much as of the training; give the checkpoint as it was before"
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
