"""The middle of the graph: adapters, what they are merged into, and models trained as a whole."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.lib.artifacts.graph import Gate, Graph
from scripts.lib.canonical import canonical_json
from scripts.lib.config.candidates import Combination
from scripts.lib.config.load import Config
from scripts.lib.config.runs import Run
from scripts.lib.config.sources import LocalModel
from scripts.lib.data.templates import TemplateSpec
from scripts.lib.plan.local_faults import quantisation
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.sources import Place, add_chat


@dataclass(frozen=True)
class Adapter:
    """An adapter on its way to the scores.

    Attributes:
        id: Its artifact.
        model: The model that it changes.
        slug: Words for it and for what is made of it.
        artifacts: Stage -> id of what it was made of, itself included.
        gates: Findings that may forbid to use it.
        parts: What each adapter in it was trained on and how, for the model card.
        combination: How they were combined, or None.
    """

    id: str
    model: Place
    slug: str
    artifacts: Mapping[str, str]
    gates: tuple[Gate, ...]
    parts: tuple[Mapping[str, Any], ...]
    combination: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TunedModel:
    """A model all of whose weights were trained, on its way to the scores.

    Attributes:
        id: Its artifact, a complete model.
        slug: Words for it and for what is made of it.
        artifacts: Stage -> id of what it was made of, itself included.
        gates: Findings that may forbid to use it.
        card: What it was made of, for the model card.
    """

    id: str
    slug: str
    artifacts: Mapping[str, str]
    gates: tuple[Gate, ...]
    card: Mapping[str, Any]


def tune(
    graph: Graph,
    config: Config,
    run: Run,
    template: TemplateSpec,
    model: Place,
    datasets: Mapping[str, Place],
    gates: Sequence[Gate],
    start: Adapter | None = None,
) -> Adapter | TunedModel:
    """Add what one run makes, up to its adapter or its model.

    Args:
        graph: Where to add it.
        config: The configuration.
        run: The run.
        template: The chat template that it is trained with.
        model: What it tunes.
        datasets: The raw rows of each dataset.
        gates: Findings about the models of the config that may forbid to tune any.
        start: The adapter that it goes on from, or None.
    """
    dataset, raw = config.datasets[run.dataset], datasets[run.dataset]
    chat = add_chat(graph, dataset, raw)
    rendering = {
        "template": template,
        "train_on": run.train_on,
        "turns": run.turns,
        "plain_answers": run.plain_answers,
        "fold_reasoning": run.fold_reasoning,
        "max_length_tokens": run.training.max_length_tokens,
        "on_too_long": run.on_too_long,
    }

    def render(name: str) -> tuple[str, list[Gate]]:
        """Add the shards of a dataset; return them and what may forbid to use them."""
        one, place = config.datasets[name], datasets[name]
        chat = add_chat(graph, one, place)
        shards = graph.add(
            "shards",
            f"{place.slug}-{model.slug}",
            rendering,
            reads={"chat": chat, "model": model.id},
            gates=[Gate("ledger", chat, one.max_dropped_fraction), *gates],
        )
        limit = one.max_dropped_fraction
        return shards, [Gate("contract", shards), Gate("rendering", shards, limit)]

    shards, findings = render(run.dataset)
    others = {name: render(run.evaluate_on[name]) for name in sorted(run.evaluate_on)}
    examples = graph.add(
        "examples",
        f"{raw.slug}-{model.slug}",
        {},
        reads={"raw": raw.id, "chat": chat, "shards": shards},
    )
    stage = "trained" if run.lora is None else "adapters"
    size = "full" if run.lora is None else f"r{run.lora.r}"
    slug = f"{model.slug}-{raw.slug}-{size}"
    spec = tuning_spec(run)
    reads: dict[str, str | list[str]] = {"model": model.id, "shards": shards}
    execution = _execution(config, run)
    if start:
        slug = f"{start.slug}-{raw.slug}"
        # Its shape is the adapter's, which may lie on the hub; what the run says of it is checked.
        shape = given_shape(run)
        spec["lora"] = {key: value for key, value in shape.items() if key == "dropout"}
        reads["start"] = start.id
        execution |= {"lora": shape}
    if others:
        reads["evaluation"] = [id for id, _ in others.values()]
    id = graph.add(
        stage,
        slug,
        spec,
        reads=reads,
        gates=[
            *findings,
            *(gate for _, found in others.values() for gate in found),
            Gate("growth", shards, run.max_growth),
            *gates,
        ],
        execution=execution,
    )
    artifacts = {
        "raw": raw.id,
        "chat": chat,
        "shards": shards,
        "examples": examples,
        stage: id,
        "models": model.id,
        **({"given_adapters": start.id} if start else {}),
    }
    later = (Gate("verdict", id),) if run.on_verdict == "stop" else ()
    part = {
        "weight": None,
        "data": graph.artifacts[raw.id].spec,
        "template": template if isinstance(template, str) else template["name"],
        "train_on": run.train_on,
        **spec,
        **({"start": start.parts[0]["adapter"]} if start else {}),
    }
    if run.lora is None:
        # The card is no file of the model: what a card says must not train a model again.
        card = _card(graph, model, (part,))
        return TunedModel(id, slug, artifacts, later, card)
    return Adapter(id, model, slug, artifacts, later, (part,))


TUNING = {
    "adapters": {"lora", "quantization", "double_quantization", "training"},
    "trained": {"training"},
}
"""Stage of a run -> the settings of the run that decide its bytes, beside its inputs."""

OF_ADAPTERS = ("loraplus_lr_ratio", "loraplus_lr_embedding")
"""Settings of a training that there are of adapters only."""


def tuning_spec(run: Run) -> dict[str, Any]:
    """Return the settings of a run that decide the bytes of what it trains, as JSON."""
    stage = "trained" if run.lora is None else "adapters"
    spec = run.model_dump(mode="json", include=TUNING[stage])
    spec["training"] |= {
        "learning_rate": run.learning_rate,
        "evaluate_on": sorted(run.evaluate_on),
        "keep": run.training.kept,
    }
    if run.lora is None:
        spec["training"] = {k: v for k, v in spec["training"].items() if k not in OF_ADAPTERS}
    return spec


def _card(
    graph: Graph,
    model: Place,
    parts: Sequence[Mapping[str, Any]],
    combination: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what the card of a model says that was made of *model*."""
    return {
        "base": graph.artifacts[model.id].spec,
        "parts": parts,
        "combination": combination,
    }


def given_shape(run: Run) -> dict[str, Any]:
    """Return what a run says itself of the shape of its adapter."""
    return run.lora.model_dump(mode="json", exclude_unset=True) if run.lora else {}


def _execution(config: Config, run: Run) -> dict[str, Any]:
    """Return how a training is to be done, where the config says so."""
    if not config.tracking.report_to:
        return {}
    name = next(name for name, one in config.runs.items() if one is run)
    return {"tracking": {**config.tracking.model_dump(mode="json"), "run": name}}


def merge_problems(config: Config, sources: LocalSources) -> Iterator[str]:
    """Yield what is to be merged into, or trained as, a local model with quantised weights."""
    how = {
        name: quantisation(sources.locate(model.path))
        for name, model in config.models.items()
        if isinstance(model, LocalModel)
    }
    runs = {name: run for name, run in config.runs.items() if run.lora is not None}
    merged = {f"runs.{name}": run.model for name, run in runs.items() if run.merge}
    for name, one in config.combinations.items():
        if one.merge:
            merged[f"candidates.{name}"] = config.base_of(next(iter(one.combine)))
    given = config.adapters.items()
    merged |= {f"candidates.{name}": one.base for name, one in given if one.merge}
    for place, model in merged.items():
        if how.get(model):
            yield (
                f"{place}.merge: models.{model} is quantised ({how[model]}), so a merge would round"
                " the adapter away; name the unquantised model, or write merge: false"
            )
    for name, run in config.runs.items():
        if run.lora is None and (quantised := how.get(run.model)):
            yield (
                f"runs.{name}.lora: models.{run.model} is quantised ({quantised}), and such weights"
                " cannot be trained; name the unquantised model, or train an adapter"
            )


def combine(graph: Graph, combination: Combination, adapters: Mapping[str, Adapter]) -> Adapter:
    """Add the adapter that is combined from those of several runs, or from given ones.

    Args:
        graph: Holds the adapters.
        combination: What to make of them.
        adapters: Run or given adapter -> it.
    """

    def place(member: tuple[str, float]) -> tuple[str, float, str]:
        # Neither the names of runs nor their order count; what they trained does. The key comes
        # last: it may move with code that changes no byte.
        artifact = graph.artifacts[adapters[member[0]].id]
        return canonical_json(artifact.spec), member[1], artifact.key

    members = sorted(combination.combine.items(), key=place)
    model = adapters[members[0][0]].model
    slug = f"{model.slug}-{combination.method.replace('_', '-')}-of-{len(members)}"
    spec: dict[str, Any] = {
        "method": combination.method,
        "weights": [weight for _, weight in members],
        "density": combination.density,
        "rank": combination.rank,
        "majority_sign": combination.majority_sign if "ties" in combination.method else None,
        "seed": combination.seed if combination.is_random else None,
    }
    id = graph.add(
        "combined",
        slug,
        spec,
        reads={"model": model.id, "adapters": [adapters[run].id for run, _ in members]},
        gates=[gate for run, _ in members for gate in adapters[run].gates],
    )
    parts = tuple({**adapters[run].parts[0], "weight": weight} for run, weight in members)
    artifacts = {"combined": id, "models": model.id}
    return Adapter(id, model, slug, artifacts, (), parts, spec)


def merge(graph: Graph, adapter: Adapter) -> dict[str, str]:
    """Add the merged model and its proof; return their ids by stage."""
    reads = {"model": adapter.model.id, "adapter": adapter.id}
    # The model card is among the files, so what it says is identity.
    card = _card(graph, adapter.model, adapter.parts, adapter.combination)
    merged = graph.add("merged", adapter.slug, {"card": card}, reads=reads, gates=adapter.gates)
    proof = graph.add("proofs", adapter.slug, {}, reads={**reads, "merged": merged})
    return {"merged": merged, "proofs": proof}
