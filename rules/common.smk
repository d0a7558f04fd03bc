"""Glue: the plan of this invocation, and the lookups by which rules read it.

in   the config, or, inside a job, the frozen plan that TUNESMITH_PLAN names
out  PLAN, PLAN_FILE and the functions below
"""

import contextlib
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)

from scripts.lib import planning, recovery, remarks, upkeep, usage, views
from scripts.lib.errors import PipelineError
from scripts.lib.launch import launcher
from scripts.lib.plan import read_frozen

PLAN_VARIABLE = "TUNESMITH_PLAN"
ROOT = Path(workflow.basedir)
NOTES = planning.RESULTS / ".workflows"
LOCKS = Path(".snakemake") / "locks"

# Programs import `scripts` and run under this Python, wherever the job lands. Threads that wait for
# each other sleep: spinning, as OpenMP's default is, costs a shared machine several times the work.
shell.prefix(
    f"export PYTHONPATH={shlex.quote(workflow.basedir)} OMP_WAIT_POLICY=passive"
    f" PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
)

if not workflow.is_main_process:
    # Jobs run on nodes that may have no network: only the fetch rules, which are local, use it.
    os.environ["HF_HUB_OFFLINE"] = "1"


def forces():
    """Tell whether the command line asks Snakemake to run rules by force."""
    return {"-F", "--forceall", "-R", "--forcerun"} & set(sys.argv)


def is_dry_run():
    """Tell whether the command line asks for a dry run; Snakemake itself knows that later."""
    return any(
        re.fullmatch("--dry-?run|-[a-zA-Z]*n[a-zA-Z]*", word) for word in sys.argv
    )


def plan_now():
    """Plan this invocation and leave the frozen plan for the jobs."""
    if forces() and (config.get("plan") != "full"):
        raise WorkflowError(
            "-F and -R find no job for what exists: name runs or stages to make again with"
            " --config redo=NAME (or redo='[one,two]')"
        )
    try:
        if not is_dry_run():
            recovery.recover(NOTES, LOCKS)
        files = [Path(path) for path in workflow.overwrite_configfiles]
        invocation = planning.plan_invocation(
            planning.read_configs(config, files, ROOT), ROOT
        )
    except PipelineError as error:
        raise WorkflowError(f"\n{error}") from None
    os.environ[PLAN_VARIABLE] = str(invocation.file)
    return invocation


# Jobs that parse this file again must not plan again: the config, the lock or a raw file may have
# changed since, and what they make would carry the old key.
NOTE = None
INVOCATION = plan_now() if workflow.is_main_process else None
PLAN_FILE = os.environ[PLAN_VARIABLE]
PLAN = read_frozen(Path(PLAN_FILE))


# What is open from the start of the workflow to its end.
READING = contextlib.ExitStack()


def start_workflow():
    """Refuse a plan that is for pictures only; leave a note; show what is there and in use."""
    global NOTE
    if INVOCATION.full:
        raise WorkflowError(
            "plan=full is for pictures and --report: leave it out to run"
        )
    plan, store = INVOCATION.plan, INVOCATION.store
    for line in remarks.before(store):
        print(f"note: {line}", file=sys.stderr)
    # The Slurm executor gives all jobs of one workflow one name.
    NOTE = recovery.register(
        NOTES, getattr(workflow.scheduler._executor, "run_uuid", None)
    )
    READING.enter_context(usage.of_plan(plan, INVOCATION.file, store))
    views.refresh(plan.graph, store)


def end_workflow(success):
    """Show what is there now; evict merged models that were to be kept no longer."""
    plan, store = INVOCATION.plan, INVOCATION.store
    READING.close()
    recovery.unregister(NOTES, NOTE)
    upkeep.evict_merged(plan.graph, store)
    views.refresh(plan.graph, store)
    for line in remarks.after(plan, store):
        print(f"warning: {line}", file=sys.stderr)
    if success and Path(f"{PLAN['report']}.json").exists():
        print("The report: results/report/index.html", file=sys.stderr)


def planned(stage):
    """Return the pattern of the names that this plan makes in a stage; nothing else has a rule."""
    entries = [entry for entry in PLAN["artifacts"].values() if entry["stage"] == stage]
    return "|".join(re.escape(f"{e['slug']}-{e['key']}") for e in entries) or "(?!)"


def reads(stage, edge):
    """Return the input function for the folders behind an edge; none where there is no edge."""
    return lambda wildcards: [
        place for _, place in entry(stage, wildcards)["reads"].get(edge, [])
    ]


def knows(stage, edge):
    """Return the input function for the manifests behind an edge."""
    return lambda wildcards: [
        f"{place}.json" for _, place in entry(stage, wildcards)["knows"][edge]
    ]


def after(stage):
    """Return the input function for what orders a job but is no data of it.

    These are the manifests whose findings may forbid it, and, where files of its output are there
    and must be made all the same, the plan: a file newer than they are.
    """

    def files(wildcards):
        planned = entry(stage, wildcards)
        gates = [f"{place}.json" for _, _, place, _ in planned["gates"]]
        return gates + ([PLAN_FILE] if planned["anew"] else [])

    return files


def entry(stage, wildcards):
    """Return what the plan says of one artifact."""
    return PLAN["artifacts"][f"{stage}/{wildcards.artifact}"]


if INVOCATION is not None and not PLAN["artifacts"]:
    views.refresh(INVOCATION.plan.graph, INVOCATION.store)
