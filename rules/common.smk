"""Glue: the plan of this invocation, and the lookups by which rules read it.

in   the config, or, inside a job, the frozen plan that TUNESMITH_PLAN names
out  PLAN, PLAN_FILE and the functions below
"""

import contextlib
import gc
import os
import re
import shlex
import sys
from pathlib import Path

import snakemake.exceptions
from snakemake.exceptions import LockException, WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import Quietness

# The project, also where another workflow takes it in as a module: workflow.basedir is that one's.
ROOT = Path(os.path.abspath(str(workflow.current_basedir))).parent
sys.path.insert(0, str(ROOT))

from scripts.lib.artifacts import in_use, links, upkeep
from scripts.lib.artifacts.batches import BATCHES, Batching
from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.stages import FETCHED, STAGES
from scripts.lib.errors import PipelineError
from scripts.lib.jobs import gpu_fit, killed_workflows, prefetching, remarks
from scripts.lib.jobs.launch import launcher
from scripts.lib.jobs.progress import Repeater
from scripts.lib.machine import cuda_driver
from scripts.lib.plan.invocation import RESULTS, plan_invocation, read_configs
from scripts.lib.plan.missing import read_frozen
from scripts.lib.plan.reasons import reasons_of, told

PLAN_VARIABLE = "TUNESMITH_PLAN"
NOTES = RESULTS / ".workflows"
LOCKS = Path(".snakemake") / "locks"

# Programs import `scripts` and run under this Python, wherever the job lands. Threads that wait for
# each other sleep: spinning, as OpenMP's default is, costs a shared machine several times the work.
# What is submitted may land on a node without a network: only the fetch rules use one, which are
# local or go to a partition that has one, and take back what is said here. A program that fails
# fails its job also where what it says goes through a pipe.
OFFLINE = "" if workflow.is_main_process else " HF_HUB_OFFLINE=1"
shell.prefix(
    f"set -o pipefail; export PYTHONPATH={shlex.quote(str(ROOT))} OMP_WAIT_POLICY=passive{OFFLINE}"
    f" PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
)


class FolderInUse(LockException):
    """Snakemake's refusal to share a folder, in words that say who is at work there.

    Its own advise --unlock, which lets two workflows write the same files.
    """

    def __init__(self):
        WorkflowError.__init__(self, killed_workflows.lock_words(NOTES))


# Only where Snakemake finds files locked that it is to make or read is there something to refuse,
# so the words are changed where it does.
snakemake.exceptions.LockException = FolderInUse


def forces():
    """Tell whether the command line asks Snakemake to run rules by force."""
    return {"-F", "--forceall", "-R", "--forcerun"} & set(sys.argv)


def is_dry_run():
    """Tell whether the command line asks for a dry run; Snakemake itself knows that later."""
    return any(
        re.fullmatch("--dry-?run|-[a-zA-Z]*n[a-zA-Z]*", word) for word in sys.argv
    )


def publishes():
    """Tell whether the command line asks for the target that pushes to the hub."""
    return "publish" in sys.argv


def prefetches():
    """Tell whether the command line asks for the target that only fetches."""
    return "prefetch" in sys.argv


def reports():
    """Tell whether the command line asks for more than that."""
    return not prefetches() or bool({"all", "publish"} & set(sys.argv))


def set_resources(rule):
    """Return the resources of a rule as profile or command line set them, each as its text.

    What is an expression has no number yet.
    """
    rules = workflow.resource_settings.overwrite_resources
    given = rules[rule] if rule in rules else {}
    return {name: str(getattr(one, "raw", one)) for name, one in given.items()}


def is_local(rule):
    """Tell whether a rule that fetches runs beside Snakemake, as it does without a partition."""
    return "slurm_partition" not in set_resources(rule)


# How the user set it, who may have no network at all.
NETWORK = f"HF_HUB_OFFLINE={os.environ.get('HF_HUB_OFFLINE', '')}"


def batching():
    """Return how many subjects a job scores, as profile or command line set it for its rule."""
    given = set_resources("score_benchmark")
    words = {
        name: given[name]
        for name in ("subjects_per_job", "jobs_per_benchmark")
        if name in given
    }
    try:
        return Batching(**{name: int(word) for name, word in words.items()})
    except ValueError:
        said = ", ".join(f"{name}={word}" for name, word in words.items())
        raise WorkflowError(
            f"--set-resources score_benchmark: {said}: both are whole numbers from 1 on"
        ) from None


SCORING = ("score_benchmark", "judge_pairs")


def plan_now():
    """Plan this invocation and leave the frozen plan for the jobs."""
    if forces() and (config.get("plan") != "full"):
        raise WorkflowError(
            "-F and -R find no job for what exists: name runs or stages to make again with"
            " --config redo=NAME (or redo='[one,two]')"
        )
    try:
        if not is_dry_run():
            killed_workflows.recover(NOTES, LOCKS)
        files = [Path(path) for path in workflow.overwrite_configfiles]
        invocation = plan_invocation(
            read_configs(config, files, ROOT),
            ROOT,
            reported=reports(),
            publish=publishes(),
            prefetch=prefetches(),
            batching=batching(),
        )
    except PipelineError as error:
        raise WorkflowError(f"\n{error}") from None
    asked = {rule: set_resources(rule) for rule in SCORING}
    if idle := remarks.idle_gpus(invocation.plan, asked):
        raise WorkflowError("\n".join(idle))
    os.environ[PLAN_VARIABLE] = str(invocation.file)
    return invocation


# Jobs that parse this file again must not plan again: the config, the lock or a raw file may have
# changed since, and what they make would carry the old key.
NOTE = None
INVOCATION = plan_now() if workflow.is_main_process else None
PLAN_FILE = os.environ[PLAN_VARIABLE]
PLAN = read_frozen(Path(PLAN_FILE))

# The plan and the jobs are millions of objects that stay: Python's search for garbage among
# them, at its usual intervals, takes as long as a third of the planning.
gc.freeze()
gc.set_threshold(50_000, 20, 100)


# A slug and a key. A list of the names to make would do too, but Snakemake scans a pattern's text
# for every job, and a text that grows with the plan makes planning quadratic.
wildcard_constraints:
    artifact=r"[^/]+-[0-9a-f]{20}",


# What is open from the start of the workflow to its end.
READING = contextlib.ExitStack()


TRAINING = {"adapters": "train_adapter", "trained": "train_model"}


def trainings():
    """Return what is about to be trained, with the resources of the jobs."""
    stages = {rule: stage for stage, rule in TRAINING.items()}
    return {
        f"{stages[job.rule.name]}/{job.wildcards.artifact}": dict(job.resources.items())
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in stages
    }


def to_fetch():
    """Return what is about to be fetched."""
    rules = {STAGES[stage].rule: stage for stage in FETCHED}
    return [
        f"{rules[job.rule.name]}/{job.wildcards.artifact}"
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in rules
    ]


def start_workflow():
    """Refuse what cannot be done; leave a note; show what is there and in use."""
    global NOTE
    if INVOCATION.full:
        raise WorkflowError(
            "plan=full is for pictures and --report: leave it out to run"
        )
    plan, store = INVOCATION.plan, INVOCATION.store
    rules = {job.rule.name for job in workflow.dag.needrun_jobs()}
    # Where jobs run elsewhere, this machine's driver says nothing: `make doctor` asks a node.
    if workflow.local_exec and any(
        "gpu" in job.rule.resources for job in workflow.dag.needrun_jobs()
    ):
        if unused := cuda_driver.refusal(os.environ):
            raise WorkflowError(unused)
    if lacking := remarks.unset(plan, rules, os.environ):
        raise WorkflowError("\n".join(lacking))
    wanted = trainings()
    if unfit := remarks.untrainable(plan, wanted) + gpu_fit.too_large(plan, wanted):
        raise WorkflowError("\n".join(unfit))
    asked = {
        job.rule.name: dict(job.resources.items())
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in SCORING
    }
    if idle := remarks.idle_gpus(plan, asked):  # by what was an expression before
        raise WorkflowError("\n".join(idle))
    if refused := prefetching.refused(plan.graph.artifacts[id] for id in to_fetch()):
        raise WorkflowError("\n".join(refused))
    notes = [*remarks.to_train(plan), *gpu_fit.tight(plan, wanted)]
    for line in [*notes, *remarks.before(store)]:
        print(f"note: {line}", file=sys.stderr)
    # The Slurm executor gives all jobs of one workflow one name.
    uuid = getattr(workflow.scheduler._executor, "run_uuid", None)
    makes = [id for batch in PLAN["batches"].values() for id in batch["artifacts"]]
    NOTE = killed_workflows.register(NOTES, uuid, makes)
    if rivals := killed_workflows.rival_words(NOTES, NOTE):
        killed_workflows.unregister(NOTES, NOTE)
        raise WorkflowError(rivals)
    READING.enter_context(
        in_use.of_plan(plan.graph, plan.found, INVOCATION.file, store, PLAN["batches"])
    )
    links.refresh(plan.graph, store)
    if not {Quietness.ALL, Quietness.PROGRESS} & set(
        workflow.output_settings.quiet or ()
    ):
        READING.enter_context(Repeater(RESULTS, logger.info))


def end_workflow():
    """Show what is there now; evict merged models that were to be kept no longer."""
    plan, store = INVOCATION.plan, INVOCATION.store
    READING.close()
    killed_workflows.unregister(NOTES, NOTE)
    upkeep.evict_merged(plan.graph, store)
    links.refresh(plan.graph, store)
    for line in remarks.after(plan, store):
        print(f"warning: {line}", file=sys.stderr)
    if reports() and report_stands():
        print("The report: results/report/index.html", file=sys.stderr)


def report_stands():
    """Tell whether the report of this plan is there, and made anew if it was to be."""
    id, place = PLAN["targets"][0]
    manifest = Path(f"{place}.json")
    if not manifest.exists() or not PLAN["artifacts"].get(id, {}).get("anew"):
        return manifest.exists()
    return manifest.stat().st_mtime >= Path(PLAN_FILE).stat().st_mtime


def targets():
    """Return what the whole workflow is for: manifests of the report and of its budget's check."""
    return [f"{spot(*at)}.json" for at in PLAN["targets"]]


def published():
    """Return what publishing waits for: the targets, and each model with what it rests on."""
    places = [place for item in PLAN["publish"] for place in item["places"].values()]
    return [*targets(), *(f"{spot(*place)}.json" for place in places)]


def prefetched():
    """Return what prefetching waits for: manifests of all that comes from outside."""
    return [f"{spot(*at)}.json" for at in PLAN["prefetch"]]


def inputs(stage, *edges):
    """Return the input function of a stage's rule, to be unpacked.

    By name come the folders behind *edges*, one each. As `after` comes what else the job waits for:
    manifests of the same plan and, where files of the job's output are there and must be made all
    the same, the plan itself, which is newer than they are. Whatever else a job reads it finds
    through the plan.
    """

    def files(wildcards):
        planned = entry(stage, wildcards)
        named = {edge: planned["reads"][edge] for edge in edges}
        given = {id for places in named.values() for id, _ in places}
        waits = [
            f"{PLAN['results']}/{id}.json"
            for id in planned["awaits"]
            if id not in given
        ]
        return {
            **{edge: [spot(*at) for at in places] for edge, places in named.items()},
            "after": waits + ([PLAN_FILE] if planned["anew"] else []),
        }

    return files


def spot(id, place):
    """Return the path by which Snakemake is to know a folder or a manifest.

    What the plan makes goes by its plain path, for which there is a rule. What is there already
    goes by its full path, for which there is none: Snakemake sees the file and looks no further.
    """
    return place if id in PLAN["artifacts"] else os.path.abspath(place)


def entry(stage, wildcards):
    """Return what the plan says of one artifact, or of a batch of them."""
    id = f"{stage}/{wildcards.artifact}"
    entries = PLAN["batches" if stage == BATCHES else "artifacts"]
    if id not in entries:
        raise WorkflowError(
            f"{id} is not to be made: it is there, or this config does not lead to it"
        )
    return entries[id]


def named(what):
    """Return the label of a result in Snakemake's own report: an artifact's name without its key."""
    return lambda wildcards: {what: wildcards.artifact.rpartition("-")[0]}


REASONS_TOLD = 12


def tell_before():
    """Say in a dry run why jobs would run, what is to be trained, and what will not fit its GPU."""
    plan = INVOCATION.plan
    reasons = reasons_of(plan, INVOCATION.store, ProjectCode(ROOT).modules)
    for line in told(reasons, REASONS_TOLD):
        print(f"why: {line}", file=sys.stderr)
    asked = {stage: {"gpu": 1, **set_resources(TRAINING[stage])} for stage in TRAINING}
    wanted = {
        id: asked[stage] for id in plan.missing if (stage := id.split("/")[0]) in asked
    }
    for line in remarks.to_train(plan):
        print(f"note: {line}", file=sys.stderr)
    for line in gpu_fit.too_large(plan, wanted) + gpu_fit.tight(plan, wanted):
        print(f"warning: {line}", file=sys.stderr)


if INVOCATION is not None and is_dry_run():
    tell_before()

if INVOCATION is not None and not PLAN["artifacts"]:
    links.refresh(INVOCATION.plan.graph, INVOCATION.store)
