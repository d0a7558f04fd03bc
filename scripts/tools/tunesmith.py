"""The command line `tunesmith`: first configs, pins, plans in words, checks of what was made.

Snakemake stays the engine: this starts no job. What a command does stands in scripts/lib; here are
options and words.
"""

import contextlib
import json
import secrets
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from scripts.lib.amounts import duration
from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.explaining import explained, led_to_by, read_manifest
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.artifacts.verification import checked
from scripts.lib.config.load import load_config
from scripts.lib.errors import ConfigError, PipelineError
from scripts.lib.files import read_json, write_json, write_text
from scripts.lib.jobs.progress import running
from scripts.lib.plan import invocation
from scripts.lib.plan.missing import make_plan
from scripts.lib.plan.pinning import pinned
from scripts.lib.plan.reasons import reasons_of, told
from scripts.lib.plan.starting import DEMO, MMLU, PACKAGED, Start, first_config

ROOT = Path(__file__).resolve().parent.parent.parent
PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

app = typer.Typer(
    help="Around the workflow: first configs, pins, plans in words, checks of what was made.",
    epilog="The workflow itself is started with snakemake: snakemake --profile local.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option("--configfile", help="As Snakemake's; may be given several times."),
]


@contextmanager
def _in_words(command: str) -> Iterator[None]:
    """Turn what a user can mend into a line on stderr and exit code 1."""
    try:
        yield
    except PipelineError as error:
        print(f"{command}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _config(files: Sequence[Path] | None) -> dict[str, Any]:
    given = list(files or ())
    return invocation.read_configs(invocation.merge_configs(given), given, ROOT)


def _graph(config: Mapping[str, Any]) -> Graph:
    return invocation.graph_of(config, ROOT)


@app.command()
def init(
    model: Annotated[
        str | None,
        typer.Option(help=f"`{PACKAGED}` (comes along), a folder, or OWNER/NAME of the hub."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="File or folder of rows, or OWNER/NAME of the hub."),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            help=f"`{DEMO}` (comes along), `{MMLU}`, a folder in MMLU's layout, a file of"
            " questions, or a task of lm-eval; may be given several times."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("mine.yaml"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over a file.")] = False,
) -> None:
    """Write a first config, checked and with pinned commits; asks for what is not given."""
    with _in_words("init"):
        if out.exists() and not overwrite:
            raise ConfigError(f"{out} is there already: name another --out, or add --overwrite")
        asks = sys.stdin.isatty()
        if data is None and not asks:
            raise ConfigError("no rows are named: add --data FILE")
        chosen_model = model or (typer.prompt("Model", PACKAGED) if asks else PACKAGED)
        rows = data or typer.prompt("Rows (a file, or OWNER/NAME of the hub)")
        asked = benchmark or ([typer.prompt("Benchmark", DEMO)] if asks else [DEMO])
        text = first_config(Start(chosen_model, rows, asked), out)
        text, done = pinned(text, _commit_of)
        write_text(out, text)
        for one, commit in done:
            print(f"{one.repository}: pinned to {commit}")
        try:
            _graph(yaml.safe_load(text))
        except ConfigError as error:
            raise ConfigError(f"{out} is written, but will not do yet: {error}") from error
    print(f"{out} is written. What would run: {_called('tunesmith')} plan --configfile {out}")
    print(f"To run it: {_called('snakemake')} --profile local --configfile {out}")


def _called(program: str) -> str:
    """Return how a program of this environment is called from here."""
    place = Path(sys.executable).parent / program
    if shutil.which(program) == str(place):
        return program
    here = Path.cwd()
    return str(place.relative_to(here) if place.is_relative_to(here) else place)


def _commit_of(repository: str, revision: str | None, kind: Any) -> str:
    # The hub's client takes a second to import, and most commands ask no hub.
    from scripts.lib.fetch.commits import commit_of

    return commit_of(repository, revision, kind)


@app.command()
def pin(
    file: Annotated[Path, typer.Argument(help="A config file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say it.")] = False,
) -> None:
    """Turn branches and tags of hub repositories into commits, in the file; comments stay."""
    with _in_words("pin"):
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from error
        text, done = pinned(text, _commit_of)
        if not dry_run and done:
            write_text(file, text)
    for one, commit in done:
        print(f"{one.repository}: {one.name or 'no revision'} -> {commit}")
    if not done:
        print("Every revision is a commit already.")


@app.command()
def plan(configfile: ConfigFiles = None) -> None:
    """Say what would run and why, what is there already, and how long it will take."""
    with _in_words("plan"):
        config = _config(configfile)
        graph, store = _graph(config), invocation.open_store()
        planned = make_plan(graph, store, redo=load_config(config).redo)
        reasons = reasons_of(planned, store, ProjectCode(ROOT).modules)
    from scripts.lib.jobs.expected import expected

    times = expected(planned, store, reasons)
    if not planned.missing:
        print("Nothing is to be made: the report is there (results/report/index.html).")
        return
    here = Counter(id.split("/")[0] for id, f in planned.found.items() if _is_here(f, store))
    cached = Counter(id.split("/")[0] for id, f in planned.found.items() if not _is_here(f, store))
    made = Counter(id.split("/")[0] for id in planned.missing)
    print(f"{'stage':<18}{'to make':>8}{'here':>8}{'in a cache':>12}   time")
    for stage in STAGES:
        if made[stage] or here[stage] or cached[stage]:
            ids = [id for id in planned.missing if id.startswith(f"{stage}/")]
            print(
                f"{stage:<18}{made[stage]:>8}{here[stage]:>8}{cached[stage]:>12}"
                f"   {_time_words([times.get(id) for id in ids])}".rstrip()
            )
    print(
        f"{'all':<18}{made.total():>8}{here.total():>8}{cached.total():>12}"
        f"   {_time_words([times.get(id) for id in planned.missing])}".rstrip()
    )
    print("\nWhy:")
    for line in told(reasons, most=10_000):
        print(f"  {line}")


def _is_here(found: Any, store: Any) -> bool:
    return bool(found.manifest_path.is_relative_to(store.results))


def _time_words(times: Sequence[Any]) -> str:
    """Return the time of several jobs, by device."""
    seconds: Counter[str] = Counter()
    for one in times:
        if one:
            seconds[one.device] += one.seconds
    unknown = sum(one is None for one in times)
    words = [f"{duration(total)} on {device}" for device, total in seconds.items()]
    if unknown and times:
        words.append("unknown" if not words else f"{unknown} unknown")
    return ", ".join(words)


@app.command()
def explain(
    artifact: Annotated[Path, typer.Argument(help="A folder below results/, or a link to one.")],
    configfile: ConfigFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Say what an artifact is: its settings, what it was made of, by what, for which runs."""
    with _in_words("explain"):
        place = artifact if artifact.exists() else invocation.RESULTS / artifact
        manifest = read_manifest(place)
        if as_json:
            print(json.dumps(manifest, indent=1))
            return
        try:
            graph = _graph(_config(configfile))
        except ConfigError:
            leads = None  # an artifact is what it is, whatever has become of the config
        else:
            leads = led_to_by(graph, {manifest["key"], manifest["content_key"]})
    for line in explained(manifest, leads):
        print(line)


@app.command()
def verify(
    cache: Annotated[bool, typer.Option("--cache", help="The shared caches, too.")] = False,
) -> None:
    """Read every artifact and compare it with its manifest, hash by hash."""
    store = invocation.open_store()
    count = read = evicted = 0
    bad = []
    for one in checked(store, caches=cache):
        count += 1
        read += one.bytes
        evicted += one.evicted
        if one.faults:
            bad.append(one)
            print(f"{one.manifest.with_suffix('')}: {'; '.join(one.faults)}")
    print(
        f"{count:,} artifacts, {read / 2**30:.2f} GiB read, {len(bad)} damaged"
        + (f", {evicted} without files" if evicted else "")
    )
    if bad:
        print("Remove what is damaged and run the workflow again, it is made anew:")
        for one in bad:
            place = shlex.quote(str(one.manifest.with_suffix("")))
            print(f"  rm -rf {place} {place}.json")
        raise typer.Exit(1)


FAILED, UNDECIDED = 2, 3
"""Exit codes of `check`; 1 is for what cannot be checked."""


@app.command()
def check(configfile: ConfigFiles = None) -> None:
    """Hold what the fine-tunes lost against the budget; exit code 2 if it fails, 3 if undecided."""
    from scripts.lib.compare.budget import change_words, margin_words

    with _in_words("check"):
        config = _config(configfile)
        graph, store = _graph(config), invocation.open_store()
        (comparison,) = graph.artifacts[graph.report].reads["comparison"]
        found = make_plan(graph, store, targets=[comparison]).found.get(comparison)
        if found is None or found.folder is None:
            raise ConfigError("this config is not compared yet: run the workflow first")
        budget = read_json(found.folder / "comparison.json")["budget"]
        if budget is None:
            raise ConfigError("this config has no budget: write one under report (docs/budget.md)")
    for line in budget["lines"]:
        print(
            f"{line['verdict']:<10}{line['candidate']} on {line['benchmark']}, {line['measure']}:"
            f" {change_words(line)}; {margin_words(line)}"
        )
    print(f"The budget: {budget['verdict']}.")
    if budget["verdict"] == "fail":
        raise typer.Exit(FAILED)
    if budget["verdict"] == "undecided" and budget["on_undecided"] == "fail":
        raise typer.Exit(UNDECIDED)


@app.command()
def watch(
    once: Annotated[bool, typer.Option("--once", help="Print the state and end.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="Between two looks.")] = 10.0,
) -> None:
    """Show how far running jobs are, from any machine that sees this folder; Ctrl-C ends it."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            found = running(invocation.RESULTS)
            print(time.strftime("%H:%M:%S"), f"{len(found)} jobs say how far they are", flush=True)
            for one in found:
                print(f"  {one.words(time.time())}", flush=True)
            if once:
                return
            time.sleep(seconds)


pairs = typer.Typer(help="Judged pairs for people: blind sheets, and what was chosen on them.")
app.add_typer(pairs, name="pairs")


@pairs.command("export")
def export_pairs(
    run: Annotated[str, typer.Argument(help="A run that was judged beside its base.")],
    benchmark: Annotated[str, typer.Argument(help="A benchmark of kind judged_pairs.")],
    out: Annotated[Path, typer.Option(help="Folder for the sheet.")] = Path("sheets"),
    keys: Annotated[Path, typer.Option(help="Folder for its key.")] = Path("keys"),
) -> None:
    """Write a sheet that does not say which answer is whose, as HTML and CSV; its key apart."""
    from scripts.lib.benchmarks.judged_pairs.scores import prompts_file
    from scripts.lib.benchmarks.judged_pairs.sheets import blind, sheet_csv, sheet_html

    judged = invocation.RESULTS / "runs" / run / "scores" / prompts_file(benchmark)
    with _in_words("pairs export"):
        shown, key = blind(judged, run, benchmark, secrets.token_bytes(32))
        sheet = key["sheet"]
        if out.resolve() == keys.resolve():
            raise ConfigError("the key would lie beside the sheet: name another --keys")
        for folder in (out, keys):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(out / f"sheet-{sheet}.html", sheet_html(shown, sheet))
        write_text(out / f"sheet-{sheet}.csv", sheet_csv(shown, sheet))
        write_json(keys / f"key-{sheet}.json", key)
    print(f"{len(shown):,} pairs: {out / f'sheet-{sheet}.html'}, or the .csv beside it")
    print(f"Keep apart: {keys / f'key-{sheet}.json'} says which answer is whose.")


@pairs.command("read")
def read_pairs(
    key: Annotated[Path, typer.Argument(help="The key of the sheet.")],
    answers: Annotated[list[Path], typer.Argument(help="Filled-in CSV, one for each person.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Say what people chose: win rate, interval, p, how often left, how often as the judge."""
    from scripts.lib.benchmarks.judged_pairs.people import in_words, people_figures, read_choices
    from scripts.lib.benchmarks.judged_pairs.sheets import read_key

    with _in_words("pairs read"):
        known = read_key(key)
        found = people_figures(known, [read_choices(path, known) for path in answers])
    print(json.dumps(found, indent=1) if as_json else "\n".join(in_words(found, known)))


def _pass_on(name: str, main: Callable[[Sequence[str]], None], words: str, *first: str) -> None:
    """Add a command that is one of scripts/tools, with that one's own options and help."""

    def run(context: typer.Context) -> None:
        main([*first, *context.args])

    app.command(name, help=words, context_settings=PASSED_ON)(run)


def _doctor(argv: Sequence[str]) -> None:
    from scripts.tools import doctor

    doctor.main(argv)


def _show(argv: Sequence[str]) -> None:
    from scripts.tools import show

    show.main(argv)


def _upkeep(argv: Sequence[str]) -> None:
    from scripts.tools import upkeep

    upkeep.main(argv)


def _forecast(argv: Sequence[str]) -> None:
    from scripts.tools import forecast

    forecast.main(argv)


_pass_on("show", _show, "Show what rows become: every token, trained ones coloured.")
_pass_on("forecast", _forecast, "Tokens, steps, memory and hours of what is to be trained.")
_pass_on("doctor", _doctor, "Look at a Slurm site, and say what to write into its profile.")
_pass_on("gc", _upkeep, "List what the config no longer reaches, or remove it.", "gc")
_pass_on("cache-gc", _upkeep, "List a shared cache by age and size, or tidy it.", "cache-gc")
_pass_on("adopt", _upkeep, "Keep artifacts under changed code.", "adopt")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
