"""What a workflow says before its first job and after its last: of the environment and its cache.

Judging and publishing come last: a variable that nobody set would end a workflow after all the
work that was to be judged or published.
"""

import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.store import Store
from scripts.lib.jobs.forecast import mixed_amount, number_of, there, trainings
from scripts.lib.jobs.launch import nodes_fault, process_count
from scripts.lib.plan.missing import Plan
from scripts.lib.train.faults import batch_fault
from scripts.lib.train.lora_faults import missing_package, sharing_fault
from scripts.lib.train.optimization import missing_optimizer_package
from scripts.lib.train.trackers import missing_tracker

HUB_TOKEN = "HF_TOKEN"


def unset(plan: Plan, rules: Collection[str], environ: Mapping[str, str]) -> list[str]:
    """Return what to set first, a line for each variable that is missing, empty, or no key.

    Args:
        plan: The plan of this invocation.
        rules: Rules of which a job is about to run.
        environ: The environment.
    """
    said = []
    for name, what in dict.fromkeys(_needed(plan, rules)):
        if not (value := environ.get(name, "").strip()):
            said.append(f"{name} is not set in the environment: set it to {what}, and start again")
            continue
        # A workflow that sends no key need not wait for what sends one.
        from scripts.lib.judge.service import key_fault

        if fault := key_fault(value):
            said.append(f"what {name} holds {fault}: set it to {what}, and start again")
    return said


def untrainable(plan: Plan, resources: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return why fine-tunes cannot be done with what their jobs get and what is installed.

    Args:
        plan: The plan of this invocation.
        resources: What is about to be trained -> the resources of their jobs.
    """
    said = []
    for id, given in resources.items():
        spec = plan.graph.artifacts[id].spec
        processes = process_count(given.get("gpu", 1), given.get("tasks", 1))
        size, micro_batch = spec["training"]["batch_size"], given.get("micro_batch", 0)
        names = (c.name for c in plan.graph.candidates if id in c.artifacts.values())
        quantization = spec.get("quantization")  # all weights are trained where none is said
        told = plan.graph.artifacts[id].execution.get("tracking", {})
        faults = (
            nodes_fault(processes, given.get("nodes", 1)),
            batch_fault(size, micro_batch, processes),
            missing_package(quantization),
            sharing_fault(quantization, given.get("fsdp", 0)),
            *map(missing_tracker, told.get("report_to", ())),
            missing_optimizer_package(spec["training"]["optim"]),
        )
        said += [f"runs.{next(names, id)}: {fault}" for fault in faults if fault]
    return said


def idle_gpus(plan: Plan, resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return why jobs that score, or judge, would leave GPUs idle: each asks on one of them.

    Args:
        plan: The plan of this invocation.
        resources: Rule -> the resources of its jobs, as numbers or their texts.
    """
    said = []
    given = number_of(resources.get("score_benchmark", {}), "gpu", 1)
    asked = {
        label: None
        for candidate in plan.graph.candidates
        for label, ids in candidate.scores.items()
        for id in ids
        if id in plan.missing
        and not plan.graph.artifacts[id].spec.get("backend", "").startswith("vllm")
    }
    if given > 1 and asked:
        said.append(
            f"score_benchmark: gpu={given}, but a job that scores computes on one GPU"
            f" (benchmarks {', '.join(asked)}): leave gpu out. Candidates and subjects are jobs of"
            f" their own: score_benchmark:jobs_per_benchmark={given} lets one benchmark use"
            f" {given} GPUs at once. Only backend: vllm shares a model out among GPUs; start what"
            " it asks by itself, once the rest is there"
        )
    given = number_of(resources.get("judge_pairs", {}), "gpu", 1)
    judged = [id for id in plan.missing if plan.graph.artifacts[id].stage == "judgements"]
    if given > 1 and judged:
        said.append(
            f"judge_pairs: gpu={given}, but a local judge computes on one GPU: leave gpu out. Each"
            " tuned model is judged by a job of its own"
        )
    return said


def to_train(plan: Plan) -> list[str]:
    """Return one line about what is to be trained, where some of its shards exist; else none."""
    wanted = trainings(plan)
    known = [
        id
        for id in wanted
        if all(there(plan, one) for one in plan.graph.artifacts[id].reads["shards"])
    ]
    if not known:
        return []
    tokens = sum(_tokens(plan, id) for id in known)
    unknown = len(wanted) - len(known)
    rest = f"; {unknown} more have no shards yet" if unknown else ""
    return [
        f"{len(known)} to train on shards that are there, {tokens:,.0f} tokens over all passes"
        f"{rest} (steps, memory and hours of each: make forecast)"
    ]


def _tokens(plan: Plan, id: str) -> float:
    """Return the tokens that a fine-tune sees, by the epochs that it asks for."""
    artifact = plan.graph.artifacts[id]
    shards = [there(plan, one) for one in artifact.reads["shards"]]
    mixture = artifact.spec.get("mixture", ())
    amount = mixed_amount(shards, mixture, packed_into=None, count=False)
    return amount.tokens * float(artifact.spec["training"]["epochs"]) if amount else 0.0


def _needed(plan: Plan, rules: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield variables, and what each has to hold."""
    for id in plan.missing:
        artifact = plan.graph.artifacts[id]
        variable = artifact.execution.get("api_key_env")
        if variable and STAGES[artifact.stage].rule in rules:
            yield variable, f"the key of {artifact.spec['endpoint']}, which judges"
    if "publish" in rules:
        yield HUB_TOKEN, "a token that may write to the hub"


LOW_BYTES = 2**30
"""A cache with less free space than this is mentioned: few adapters fit in, and no model."""


def before(store: Store) -> list[str]:
    """Return what someone who is about to publish to the first cache should know."""
    if not store.caches:
        return []
    cache = store.caches[0]
    try:
        found = cache.stat()
    except FileNotFoundError:
        return [
            f"the cache {cache} is not there yet: the first artifact makes it, as your umask says"
        ]
    except OSError as error:
        return [f"the cache {cache} cannot be used ({error}); what is made stays in results/"]
    if not stat.S_ISDIR(found.st_mode):
        return [f"the cache {cache} is no folder; what is made stays in results/"]
    if not os.access(cache, os.W_OK | os.X_OK):
        return [
            f"the cache {cache} cannot be written from here: what lies in it is used, what is made"
            " now stays in results/ (docs/cache.md says who may write)"
        ]
    said = []
    if found.st_mode & stat.S_IWOTH:
        said.append(
            f"everybody can write to the cache {cache}, and so change what your jobs read:"
            f" chmod o-w {cache}"
        )
    free = shutil.disk_usage(cache).free
    if free < LOW_BYTES:
        said.append(
            f"the cache {cache} has {free / 2**20:.0f} MiB left: what does not fit stays in"
            " results/ (make cache-gc shows what may go)"
        )
    if store.results.is_dir() and store.results.stat().st_dev != found.st_dev:
        said.append(
            f"the cache {cache} is on another file system than results/: artifacts are copied"
            " there, not linked, and take their space twice"
        )
    return said


def after(plan: Plan, store: Store) -> list[str]:
    """Return what did not get into the first cache of what this workflow made."""
    if not store.caches:
        return []
    cache = store.caches[0]
    made = [
        id
        for id in plan.missing
        if STAGES[plan.graph.artifacts[id].stage].publishing != "no"
        and (store.results / f"{id}.json").exists()
    ]
    kept = [id for id in made if not os.path.exists(cache / id / f"{id.partition('/')[2]}.json")]
    if not kept:
        return []
    stage = STAGES[plan.graph.artifacts[kept[0]].stage]
    # A batch's log has another name than the artifacts in it.
    log = "" if stage.batched_by else f"{kept[0].partition('/')[2]}.log"
    return [
        f"{len(kept)} of {len(made)} new artifacts are in results/ only, not in the cache {cache};"
        f" why: the line with `not published` in logs/{stage.rule}/{log}"
    ]
