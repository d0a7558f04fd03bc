"""The middle of the graph: adapters, what they are merged into, and models trained as a whole."""

import math
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
from scripts.lib.errors import ConfigError
from scripts.lib.plan.contamination import Contamination
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
        datasets: Of a run on several datasets what is made of each; see `Candidate`.
        trained_on: Ids of the conversations that it was trained on.
        data_known: Whether that is all that it was trained on.
    """

    id: str
    model: Place
    slug: str
    artifacts: Mapping[str, str]
    gates: tuple[Gate, ...]
    parts: tuple[Mapping[str, Any], ...]
    combination: Mapping[str, Any] | None = None
    datasets: tuple[Mapping[str, str], ...] = ()
    trained_on: tuple[str, ...] = ()
    data_known: bool = True


@dataclass(frozen=True)
class TunedModel:
    """A model all of whose weights were trained, on its way to the scores.

    Attributes:
        id: Its artifact, a complete model.
        slug: Words for it and for what is made of it.
        artifacts: Stage -> id of what it was made of, itself included.
        gates: Findings that may forbid to use it.
        card: What it was made of, for the model card.
        datasets: Of a run on several datasets what is made of each; see `Candidate`.
        trained_on: Ids of the conversations that it was trained on.
        data_known: Whether that is all that it was trained on.
    """

    id: str
    slug: str
    artifacts: Mapping[str, str]
    gates: tuple[Gate, ...]
    card: Mapping[str, Any]
    datasets: tuple[Mapping[str, str], ...] = ()
    trained_on: tuple[str, ...] = ()
    data_known: bool = True


def tune(
    graph: Graph,
    config: Config,
    run: Run,
    template: TemplateSpec,
    model: Place,
    datasets: Mapping[str, Place],
    gates: Sequence[Gate],
    contamination: Contamination,
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
        contamination: What is looked for in the rows, and may keep some out.
        start: The adapter that it goes on from, or None.
    """
    rendering = {
        "template": template,
        "train_on": run.train_on,
        "turns": run.turns,
        "plain_answers": run.plain_answers,
        "fold_reasoning": run.fold_reasoning,
        "max_length_tokens": run.training.max_length_tokens,
        "on_too_long": run.on_too_long,
    }

    def render(name: str, on_contamination: str) -> tuple[dict[str, str], list[Gate]]:
        """Add what is made of a dataset; return it by stage, and what may forbid to use it."""
        one, place = config.datasets[name], datasets[name]
        made = {"raw": place.id, "chat": add_chat(graph, one, place)}
        left = contamination.to_train_on(made["chat"], on_contamination)
        made |= {"decontaminated": left} if left != made["chat"] else {}
        shards = graph.add(
            "shards",
            f"{place.slug}-{model.slug}",
            rendering,
            reads={"chat": left, "model": model.id},
            gates=[Gate("ledger", left, one.max_dropped_fraction), *gates],
        )
        limit = one.max_dropped_fraction
        found = [Gate("contract", shards), Gate("rendering", shards, limit)]
        return {**made, "shards": shards}, found

    rendered = {name: render(name, run.on_contamination) for name in run.dataset}
    names = mixed_names(graph, {name: made for name, (made, _) in rendered.items()})
    findings = [gate for name in names for gate in rendered[name][1]]
    others = {name: render(run.evaluate_on[name], "report") for name in sorted(run.evaluate_on)}
    made = {name: dict(rendered[name][0]) for name in names}
    for name, one in made.items():
        slug = f"{datasets[name].slug}-{model.slug}"
        one["examples"] = graph.add(
            "examples",
            slug,
            {},
            reads={"raw": one["raw"], "chat": trained_chat(one), "shards": one["shards"]},
        )
    shards = [one["shards"] for one in made.values()]
    words = "-and-".join(datasets[name].slug for name in names) if len(names) < 3 else "mixture"
    stage = "trained" if run.lora is None else "adapters"
    size = "full" if run.lora is None else f"r{run.lora.r}"
    slug = f"{model.slug}-{words}-{size}"
    spec = tuning_spec(run)
    if mixture := mixture_of(run, names):
        spec["mixture"] = mixture
    reads: dict[str, str | list[str]] = {"model": model.id, "shards": shards}
    execution = _execution(config, run)
    if start:
        slug = f"{start.slug}-{words}"
        # Its shape is the adapter's, which may lie on the hub; what the run says of it is checked.
        shape = given_shape(run)
        spec["lora"] = {key: value for key, value in shape.items() if key == "dropout"}
        reads["start"] = start.id
        execution |= {"lora": shape}
    if others:
        reads["evaluation"] = [one["shards"] for one, _ in others.values()]
    id = graph.add(
        stage,
        slug,
        spec,
        reads=reads,
        gates=[
            *findings,
            *(gate for _, found in others.values() for gate in found),
            *(Gate("growth", one, run.max_growth) for one in shards),
            *gates,
        ],
        execution=execution,
    )
    artifacts = {
        **(next(iter(made.values())) if len(made) == 1 else {}),
        stage: id,
        "models": model.id,
        **({"given_adapters": start.id} if start else {}),
    }
    chats = tuple(dict.fromkeys(trained_chat(one) for one in made.values()))
    mixed = tuple({"name": name, **one} for name, one in made.items()) if len(made) > 1 else ()
    sources = [graph.artifacts[one["raw"]].spec for one in made.values()]
    later = (Gate("verdict", id),) if run.on_verdict == "stop" else ()
    part = {
        "weight": None,
        "data": sources if mixed else sources[0],
        "template": template if isinstance(template, str) else template["name"],
        "train_on": run.train_on,
        **spec,
        **({"on_contamination": "drop"} if "decontaminated" in made[names[0]] else {}),
        **({"start": start.parts[0]["adapter"]} if start else {}),
    }
    if run.lora is None:
        # The card is no file of the model: what a card says must not train a model again.
        card = _card(graph, model, (part,))
        return TunedModel(id, slug, artifacts, later, card, mixed, chats)
    return Adapter(
        id,
        model,
        slug,
        artifacts,
        later,
        (part,),
        datasets=mixed,
        trained_on=chats,
        data_known=start is None,
    )


def trained_chat(made: Mapping[str, str]) -> str:
    """Return the conversations of a dataset that are trained on.

    Args:
        made: Stage -> id of what is made of the dataset.
    """
    return made.get("decontaminated", made["chat"])


def mixed_names(graph: Graph, made: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the datasets of a run in the order in which it is trained on their shards.

    Neither their names nor their order in the config count; what they hold does. The key comes
    last: it may move with code that changes no byte.

    Args:
        graph: Holds what is made of them.
        made: Dataset -> stage -> id.

    Raises:
        ConfigError: when two of them are the same rows.
    """
    seen: dict[str, str] = {}
    for name, one in made.items():
        if (first := seen.setdefault(one["shards"], name)) != name:
            raise ConfigError(
                f"its dataset names {first} and {name}, which are the same rows, formatted alike;"
                " name one of them, with repeat: 2 where its rows are to be read twice"
            )

    def place(name: str) -> tuple[str, str, str]:
        raw, chat, shards = (graph.artifacts[made[name][s]] for s in ("raw", "chat", "shards"))
        return canonical_json(raw.spec), canonical_json(chat.spec), shards.key

    return sorted(made, key=place)


def mixture_of(run: Run, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a run takes of each of its datasets, as specs hold it; nothing for one as it is.

    Weights become shares, so that 4 to 1 is 8 to 2.
    """
    members = [run.dataset[name] for name in names]
    total = math.fsum(one.weight or 0.0 for one in members)
    shares = [round(one.weight / total, 12) if one.weight else None for one in members]
    if len(members) == 1:
        shares = [None]
    found = [
        {"share": share, "repeat": one.repeat, "max_rows": one.max_rows}
        for one, share in zip(members, shares, strict=True)
    ]
    plain = {"share": None, "repeat": 1, "max_rows": None}
    return [] if found == [plain] else found


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
    return Adapter(
        id,
        model,
        slug,
        artifacts,
        (),
        parts,
        spec,
        trained_on=tuple(sorted({id for run, _ in members for id in adapters[run].trained_on})),
        data_known=all(adapters[run].data_known for run, _ in members),
    )


def merge(graph: Graph, adapter: Adapter) -> dict[str, str]:
    """Add the merged model and its proof; return their ids by stage."""
    reads = {"model": adapter.model.id, "adapter": adapter.id}
    # The model card is among the files, so what it says is identity.
    card = _card(graph, adapter.model, adapter.parts, adapter.combination)
    merged = graph.add("merged", adapter.slug, {"card": card}, reads=reads, gates=adapter.gates)
    proof = graph.add("proofs", adapter.slug, {}, reads={**reads, "merged": merged})
    return {"merged": merged, "proofs": proof}
