"""The model card of a merged or a fully fine-tuned model: README.md as the hub reads it.

A card says what the model was made of: base, data, settings, method. The one in the artifact says
no more, since its bytes must follow from what it was made of; the scores come later, and are in the
card that is published.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, TypeGuard, cast

CARD = "README.md"
TRL = "trl"
LICENSE_KEYS = ("license", "license_name", "license_link")


Settings = Mapping[str, object]
"""Setting -> value, as the card lists them."""


class HubModel(TypedDict):
    """A base from the hub."""

    source: Literal["hub"]
    hub: str
    revision: str


class GgufModel(TypedDict):
    """A base from a GGUF file."""

    source: Literal["gguf"]
    sha256: str


class LocalFiles(TypedDict):
    """A base or a dataset from a folder: file -> sha256."""

    source: Literal["path"]
    files: dict[str, str]


class HubData(TypedDict):
    """A dataset from the hub."""

    source: Literal["hub"]
    hub: str
    revision: str
    name: str | None


class Portion(TypedDict):
    """What was taken of a dataset: its share of the trained tokens, how often, how many rows."""

    share: float | None
    repeat: int
    max_rows: int | None


class CardPart(TypedDict):
    """One fine-tune: its weight in a combination, its data, and all that it was trained with.

    Of several datasets `data` lists all, and `mixture` says what was taken of each. Where all
    weights were trained nothing is said of an adapter, nor of how a base was quantised.
    `on_contamination` is there where rows that hold questions of benchmarks were left out.
    """

    weight: float | None
    data: HubData | LocalFiles | Sequence[HubData | LocalFiles]
    mixture: NotRequired[Sequence[Portion]]
    lora: NotRequired[Settings]
    quantization: NotRequired[str | None]
    training: Settings
    template: object
    train_on: str
    on_contamination: NotRequired[Literal["drop"]]
    start: NotRequired[HubModel | LocalFiles]


class GivenPart(TypedDict):
    """One adapter that was there already: its weight in a combination, and where it is from."""

    weight: float | None
    adapter: HubModel | LocalFiles
    template: object


class Card(TypedDict):
    """What a model was made of."""

    base: HubModel | GgufModel | LocalFiles
    parts: Sequence[CardPart | GivenPart]
    combination: Settings | None


class Stops(TypedDict):
    """Where a model stops, from `data.stops.write_stops`."""

    tokens: list[int]
    end_of_turn: str
    end_token: int | None
    end_of_call: NotRequired[str]
    call_token: NotRequired[int | None]


@dataclass(frozen=True, kw_only=True)
class CardSpec:
    """What a card says, by specs and never by names of the configuration."""

    card: Card


def write_card(spec: CardSpec, model: Path, out: Path, stops: Stops) -> None:
    """Write the card to *out*; the base's own card gives the licence and is not copied.

    Args:
        spec: What to say.
        model: Folder of the base model.
        out: Folder of the merged model.
        stops: Where it stops.
    """
    (out / CARD).write_text(card_text(spec, base_licence(model), stops), encoding="utf-8")


def base_licence(model: Path) -> dict[str, str]:
    """Return the lines about the licence in the front matter of a model's card."""
    file = model / CARD
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    front = re.match(r"---\n(.*?)\n---\s", text, re.DOTALL)
    found = re.findall(r"(?m)^(\w+):[ \t]*(\S.*?)[ \t]*$", front[1]) if front else []
    return {key: value.strip("\"'") for key, value in found if key in LICENSE_KEYS}


def card_text(
    spec: CardSpec,
    licence: Mapping[str, str],
    stops: Stops | None = None,
    scores: str = "",
) -> str:
    """Return the card.

    Args:
        spec: What to say.
        licence: Front matter about the licence, from `base_licence`.
        stops: Where the model stops; None for one that was merged before that was looked at.
        scores: Sections in Markdown on what was measured, or nothing.
    """
    card = spec.card
    blocks = [
        "---\n" + "".join(_front_matter(card, licence)) + "---",
        "# " + _title(card["base"]),
        f"{_what(card)}.",
        *_combination(card),
        *(block for part in card["parts"] for block in _part(part)),
        _weights(card),
        *([f"## Where it stops\n\n{stop_words(stops)}"] if stops else []),
        *([scores] if scores else []),
        "Made with Tunesmith.",
    ]
    return "\n\n".join(blocks) + "\n"


def _is_trained(part: CardPart | GivenPart) -> TypeGuard[CardPart]:
    """Tell whether an adapter was trained here."""
    return "training" in part


def _front_matter(card: Card, licence: Mapping[str, str]) -> Iterator[str]:
    """Yield lines of YAML; values are JSON, which is YAML whatever stands in them."""
    values: dict[str, object] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if card["base"]["source"] == "hub":
        values |= {"base_model": card["base"]["hub"], "base_model_relation": "finetune"}
    sources = [one for part in card["parts"] if _is_trained(part) for one in _sources(part)]
    data = {source["hub"] for source in sources if source["source"] == "hub"}
    if data:
        values["datasets"] = sorted(data)
    kinds = ["sft"] if is_full(card) else ["lora", "sft"]
    values["tags"] = ["tunesmith", *kinds, *(["merge"] if card["combination"] else [])]
    for key, value in {**licence, **values}.items():
        yield f"{key}: {json.dumps(value, ensure_ascii=False)}\n"


def _title(base: HubModel | GgufModel | LocalFiles) -> str:
    if base["source"] == "hub":
        return f"A fine-tune of {base['hub'].split('/')[-1]}"
    return "A fine-tune of a local model"


def _base(base: HubModel | GgufModel | LocalFiles) -> str:
    if base["source"] == "hub":
        return f"[{base['hub']}](https://huggingface.co/{base['hub']}) at `{base['revision']}`"
    if base["source"] == "gguf":
        return f"a GGUF file (sha256 `{base['sha256']}`), dequantised"
    return f"a local model ({_hashes(base['files'])})"


def is_full(card: Card) -> bool:
    """Tell whether all weights were trained, and no adapter merged."""
    return not any("lora" in part or "adapter" in part for part in card["parts"])


def _what(card: Card) -> str:
    base = _base(card["base"])
    if is_full(card):
        return f"A full fine-tune of {base}: all of its weights were trained"
    if card["combination"]:
        return f"A merged model: {base}, and a combination of {len(card['parts'])} LoRA adapters"
    return f"A merged model: {base}, and a LoRA adapter"


def _combination(card: Card) -> Iterator[str]:
    """Yield the section on how several adapters became one."""
    if not card["combination"]:
        return
    set_ = {k: v for k, v in card["combination"].items() if v is not None and k != "weights"}
    weights = ", ".join(f"{part['weight']:g}" for part in card["parts"])
    rows = {**set_, "weights of the parts": weights}
    yield "## Combination\n\n" + _table(rows)


def _weights(card: Card) -> str:
    trained = [part for part in card["parts"] if _is_trained(part)]
    # TRL's templates are for training alone: what is shipped is the base's own.
    of_base = all(part["template"] == TRL for part in card["parts"])
    whose = "the base" if of_base else "the training data" if trained else "the adapter"
    if is_full(card):
        return (
            "## Weights\n\nTrained in float32 and rounded once to the precision of the base."
            f" Tokenizer and chat template are those of {whose}."
        )
    lengths = any(part["lora"].get("use_dora") for part in trained)
    rows = ", its rows brought to the lengths that DoRA trained" if lengths else ""
    return (
        f"## Merge\n\nEach weight is W + scale · B·A{rows}, added in float32 and rounded once to"
        f" the precision of the base. Tokenizer and chat template are those of {whose}."
    )


def _part(part: CardPart | GivenPart) -> Iterator[str]:
    """Yield the sections on one fine-tune, or on an adapter that was there already."""
    weighted = "" if part["weight"] is None else f", weight {part['weight']:g}"
    if not _is_trained(part):
        yield f"## Adapter{weighted}\n\n{_adapter(cast(GivenPart, part))}"
        return
    rows: dict[str, object] = {}
    if "lora" in part:
        rows |= {f"lora.{key}": value for key, value in part["lora"].items()}
        rows |= {"quantization": part.get("quantization") or "none"}
    rows |= {f"training.{key}": value for key, value in part["training"].items()}
    rows |= {"template": part["template"], "train_on": part["train_on"]}
    start = f" It went on from an adapter: {_source(part['start'])}." if "start" in part else ""
    yield f"## Training{weighted}\n\n{_trained_on(part)}{_left_out(part)}{start}\n\n{_table(rows)}"


def _sources(part: CardPart) -> Sequence[HubData | LocalFiles]:
    """Return all datasets of a fine-tune."""
    data = part["data"]
    return [data] if isinstance(data, Mapping) else data


def _trained_on(part: CardPart) -> str:
    """Say what a fine-tune was trained on; of several datasets, what was taken of each."""
    sources = _sources(part)
    taken = part.get("mixture", [None] * len(sources))
    told = [
        _data(one) + (_portion(portion) if portion else "")
        for one, portion in zip(sources, taken, strict=True)
    ]
    if len(told) == 1:
        return f"Data: {told[0]}."
    return "Data:\n\n" + "\n".join(f"- {one}" for one in told) + "\n\n"


def _left_out(part: CardPart) -> str:
    """Say that rows were left out; which depends on the benchmarks, and the weights on the rows."""
    if "on_contamination" not in part:
        return ""
    return " Conversations that hold a question of a benchmark it is compared by were left out."


def _portion(portion: Portion) -> str:
    words = []
    if portion["share"] is not None:
        words.append(f"{portion['share']:.4g} of the trained tokens")
    if portion["max_rows"] is not None:
        words.append(f"at most {portion['max_rows']:,} rows")
    if portion["repeat"] > 1:
        most = "at most " if portion["share"] is not None else ""
        words.append(f"each read {most}{portion['repeat']} times in an epoch")
    return f" ({', '.join(words)})" if words else ""


def _adapter(part: GivenPart) -> str:
    """Say where an adapter is from that was there already."""
    place = _source(part["adapter"])
    return f"{place[:1].upper()}{place[1:]}. It was trained elsewhere; how, its files do not say."


def _source(source: HubModel | LocalFiles) -> str:
    return (
        _base(source) if source["source"] == "hub" else f"local files ({_hashes(source['files'])})"
    )


def _data(data: HubData | LocalFiles) -> str:
    if data["source"] == "hub":
        name = f" ({data['name']})" if data["name"] else ""
        link = f"[{data['hub']}](https://huggingface.co/datasets/{data['hub']})"
        return f"{link}{name} at `{data['revision']}`"
    return f"local files ({_hashes(data['files'])})"


def _hashes(files: Mapping[str, str]) -> str:
    """Return the hashes of the files that tell one source from another: weights, or all."""
    told = [name for name in sorted(files) if name.endswith(".safetensors")] or sorted(files)
    return ", ".join(f"{name} sha256 `{files[name]}`" for name in told)


def _table(rows: Settings) -> str:
    lines = ["| setting | value |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    text = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    return text.replace("|", "\\|")


def stop_words(stops: Stops) -> str:
    """Return what someone who runs a merged model has to know of where it stops.

    Args:
        stops: Where it stops.
    """
    tokens, end = stops["tokens"], stops["end_of_turn"]
    named = f"`generation_config.json` names {_listed(tokens)}, where scoring stopped, too."
    if not tokens:
        named = "`generation_config.json` names no token to stop at, and scoring had none."
    if not end:
        return f"The chat template, if there is one, writes nothing behind an answer. {named}"
    # As JSON, so that a line break in it stays visible.
    shown = f"`{json.dumps(end, ensure_ascii=False)[1:-1]}`"
    if stops["end_token"] is None:
        return (
            f"The chat template ends an answer with {shown}, which is no token of its own here: no"
            f" generation config can name it. {named} Stop at the text yourself, for example with"
            " `model.generate(..., stop_strings=[...], tokenizer=tokenizer)`."
        )
    call = ""
    if stops.get("end_of_call"):
        call = f", and a call with `{stops['end_of_call']}` (token {stops['call_token']})"
    return (
        f"The chat template ends an answer with {shown} (token {stops['end_token']}){call}. {named}"
    )


def _listed(tokens: list[int]) -> str:
    return f"token{'s' if len(tokens) > 1 else ''} {', '.join(map(str, tokens))}"
