"""Bring a LoRA adapter that someone has into the form in which this project's own adapters lie.

    fetch_adapter(spec, sources, model, out)

A folder comes by the hashes of its files, a hub repository by commit. What comes out has weights in
safetensors, a tokenizer with its chat template, and prompts for the proof of a merge.
"""

import contextlib
import inspect
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scripts.lib.adapters.faults import (
    adapter_faults,
    adapter_file_names,
    brings_tokenizer,
    read_adapter_config,
    read_pickled,
)
from scripts.lib.adapters.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, PROMPTS_FILE
from scripts.lib.data.templates import (
    OWN,
    TemplateSpec,
    load_fast_tokenizer,
    named_text,
    own_template,
    with_fixed_date,
)
from scripts.lib.data.tokenizer_files import copy_tokenizer
from scripts.lib.errors import ConfigError
from scripts.lib.fetch.access import access_fault, reason_of
from scripts.lib.fetch.datasets import copy_planned
from scripts.lib.files import copy_files, files_below
from scripts.lib.model_files import TEMPLATE_FILE

NEUTRAL = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Name three colours.", "Red, green and blue."),
    ("How many days has a week?", "A week has seven days."),
    ("Write one sentence about the sea.", "The sea was calm, and the boats lay still."),
    ("What is 12 plus 30?", "12 plus 30 is 42."),
    ("Translate 'good morning' into German.", "Guten Morgen."),
)
"""Everyday questions and answers: what a proof asks where nobody knows the training data."""

_LONGEST_PROMPT = 256
"""Tokens of a prompt that the proof asks, at most."""


def fetch_adapter(
    spec: Mapping[str, Any], sources: Sequence[Path], model: Path, out: Path
) -> dict[str, Any]:
    """Write an adapter with its tokenizer and prompts to *out*.

    Args:
        spec: `source` is `hub` (with hub, revision) or `path` (with files); `template` is the chat
            template that it is given, or None for its own; `base_template` that of its base, for
            one that brings none.
        sources: The local files, for `path`.
        model: Folder of the base.
        out: An empty folder.

    Returns:
        Facts: what its config says of rank, alpha and base, whose tokenizer and template it has,
        and how many of its updates are zero.

    Raises:
        ConfigError: when it cannot be used on this base, or is not what was planned.
    """
    with TemporaryDirectory(dir=out.parent) as scratch:
        given = Path(scratch) / "adapter"
        given.mkdir()
        if spec["source"] == "hub":
            _download(spec["hub"], spec["revision"], given)
        else:
            copy_planned(spec["files"], {file.name: file for file in sources}, given)
        where = spec["hub"] if spec["source"] == "hub" else str(sources[0].parent)
        for words in (*adapter_faults(given, model), *_unknown_options(given)):
            raise ConfigError(words.replace(str(given), where))
        return _normalise(spec, given, model, out)


def _download(hub: str, revision: str, out: Path) -> None:
    """Download what an adapter consists of, at one revision."""
    from huggingface_hub import snapshot_download

    # Of a model that was taken for an adapter, config.json is enough to say so.
    wanted = ["adapter_*", "config.json", "*token*", "*vocab*", "merges.txt", "spiece.model"]
    wanted += ["*.jinja", "special_tokens_map.json"]
    try:
        folder = snapshot_download(hub, revision=revision, allow_patterns=wanted)
    # Whatever the network or the hub does: the text tells which repository it befell.
    except Exception as error:
        why = access_fault(hub, revision, "model") or f"{reason_of(error)}; start again"
        raise ConfigError(f"{hub} cannot be downloaded at {revision}: {why}") from error
    copy_files(files_below(Path(folder)), out)


def _unknown_options(folder: Path) -> list[str]:
    """Say which options of an adapter's config the installed PEFT would leave out in silence."""
    from peft import LoraConfig, __version__

    known = set(inspect.signature(LoraConfig).parameters)
    config = read_adapter_config(folder)
    odd = [name for name, value in config.items() if value and name not in known | {"peft_type"}]
    if not odd:
        return []
    return [
        f"{folder / ADAPTER_CONFIG} uses {', '.join(sorted(odd))}, which the installed PEFT"
        f" ({__version__}) does not know: it was saved by another version"
    ]


def _normalise(spec: Mapping[str, Any], given: Path, model: Path, out: Path) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file, save_file

    if ADAPTER_WEIGHTS in adapter_file_names(given):
        shutil.copyfile(given / ADAPTER_WEIGHTS, out / ADAPTER_WEIGHTS)
    else:
        pickled = read_pickled(given)
        tensors = {name: pickled[name].detach().clone().contiguous() for name in sorted(pickled)}
        save_file(tensors, out / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = read_adapter_config(given)
    named = str(config.get("base_model_name_or_path") or "")
    # A path of the machine that it was trained on says nothing here.
    config["base_model_name_or_path"] = named if _is_repository(named) else None
    (out / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    own_tokenizer = brings_tokenizer(given)
    template, whose = _template(spec, given)
    with TemporaryDirectory(dir=out.parent) as scratch:
        tokenizer = Path(scratch) / "tokenizer"
        copy_tokenizer(given if own_tokenizer else model, tokenizer, template)
        copy_files(files_below(tokenizer), out)
    (out / PROMPTS_FILE).write_text(json.dumps(neutral_prompts(out)) + "\n")
    ups = [
        weight
        for name, weight in load_file(out / ADAPTER_WEIGHTS).items()
        if ".lora_B" in name or ".lora_embedding_B" in name
    ]
    return {
        "adapter": {
            "rank": config.get("r"),
            "alpha": config.get("lora_alpha"),
            "names_base": config["base_model_name_or_path"],
            "tokenizer": "adapter" if own_tokenizer else "base",
            "template": whose,
            "updates": len(ups),
            "zero_updates": sum(not bool(torch.any(weight)) for weight in ups),
        }
    }


def _is_repository(named: str) -> bool:
    return named.count("/") == 1 and not named.startswith((".", "/", "~"))


def _template(spec: Mapping[str, Any], given: Path) -> tuple[str | None, str]:
    """Return the template to write, None for that of the tokenizer, and whose it is."""
    choice: TemplateSpec | None = spec["template"]
    file = given / TEMPLATE_FILE
    if choice is None and brings_tokenizer(given) and own_template(load_fast_tokenizer(given)):
        return None, "adapter"
    if choice is None and file.is_file():
        # Without a tokenizer it goes with that of the base.
        return file.read_text(encoding="utf-8"), "adapter"
    whose = "config" if choice else "base"
    choice = choice or spec["base_template"]
    if isinstance(choice, Mapping):
        return choice["text"], whose
    if choice == OWN:
        return None, "adapter" if brings_tokenizer(given) else "base"
    return named_text(choice), whose


def neutral_prompts(folder: Path) -> list[list[int]]:
    """Return short conversations as tokens, through the chat template where there is one.

    Args:
        folder: A tokenizer with its chat template.
    """
    tokenizer = load_fast_tokenizer(folder)
    template = own_template(tokenizer)
    prompts = []
    for question, answer in NEUTRAL:
        text = f"Question: {question}\nAnswer: {answer}\n"
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        if template:
            tokenizer.chat_template = with_fixed_date(template)
            with contextlib.suppress(Exception):  # a template is a program: it can fail in any way
                text = tokenizer.apply_chat_template(turns, tokenize=False)
        prompts.append(tokenizer.encode(text, add_special_tokens=not template)[:_LONGEST_PROMPT])
    return prompts
