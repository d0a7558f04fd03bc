"""Write docs/rules.md and docs/demo.md, and the part of README.md that comes from the latter.

The rule graph comes from the plan of the embedded default, the rules' table and sections from
rules/ and the programs' docstrings, the demo's page from results/report/ when it is there, and
README's tables from that page.

Try it: python -m scripts.tools.write_readme_parts
"""

import ast
import datetime
import re
from collections.abc import Collection
from pathlib import Path

from scripts.lib.artifacts.stages import STAGES
from scripts.lib.config.load import read_config_file
from scripts.lib.plan import invocation
from scripts.tools.bench import machine

ROOT = Path(__file__).resolve().parent.parent.parent
RULES_PAGE = ROOT / "docs" / "rules.md"
DEMO_PAGE = ROOT / "docs" / "demo.md"
DEMO_REPORT = Path("results/report/comparison.md")
DEMO = (
    "two fine-tunes of SmolLM2-135M-Instruct, `gentle` and `strong`, that learn to write a café's\n"
    "order tickets"
)
ABOUT_RULES = """\
Base models are scored as they are; tuned ones once their merge is proved (the dashed arrow). Each
rule runs `scripts/<rule>.py` and keeps what it made under `results/`, in a folder that is named by
everything that decided its bytes ([reruns.md](reruns.md)).
"""
WRITER = "(written by `python -m scripts.tools.write_readme_parts`)"


def replace_part(text: str, name: str, body: str) -> str:
    """Return *text* with the lines between the two marks of *name* replaced.

    Raises:
        ValueError: when the marks are not there.
    """
    pattern = re.compile(
        rf"(<!-- {name}: begin {re.escape(WRITER)} -->\n).*?(<!-- {name}: end -->)", re.DOTALL
    )
    if not pattern.search(text):
        raise ValueError(f"README.md has no marks for {name!r}")
    return pattern.sub(lambda match: match[1] + body + match[2], text)


def stage_table() -> str:
    """Return a Markdown table of the rules, in the order of the files in rules/."""
    lines = ["| step | rule | what it does | `results/` |", "|---|---|---|---|"]
    step = ""
    for stage in STAGES.values():
        file = _rule_file(stage.rule)
        shown = f"[{file.stem}](../rules/{file.name})" if file.stem != step else ""
        step = file.stem
        does = _docstring(stage.rule).splitlines()[0].rstrip(".")
        lines.append(f"| {shown} | `{stage.rule}` | {does} | `{stage.name}/` |")
    return "\n" + "\n".join(lines) + "\n\n"


def rules_page() -> str:
    """Return docs/rules.md: the graph, the table, and what each rule reads and writes.

    The last comes from its program's docstring.

    Raises:
        ValueError: when a program does not say it.
    """
    folders = {stage.rule: f"results/{stage.name}/<artifact>" for stage in STAGES.values()}
    parts = [
        f"# What each rule reads and writes\n\n<!-- {WRITER[1:-1]} -->\n",
        f"What the embedded default runs:\n{rule_graph()}",
        f"{ABOUT_RULES}{stage_table()}",
    ]
    for rule in (*folders, "prefetch", "publish"):
        text = _docstring(rule)
        if not re.search(r"^Reads .*^Writes .*^Try it ", text, re.MULTILINE | re.DOTALL):
            raise ValueError(f"scripts/{rule}.py does not say what it reads and writes")
        file = _rule_file(rule)
        does, _, told = text.partition("\n")
        told = told.replace("<artifact>", folders.get(rule, "")).strip()
        parts.append(
            f"## {rule}\n\n{does} Rule in [rules/{file.name}](../rules/{file.name}), program"
            f" [scripts/{rule}.py](../scripts/{rule}.py).\n\n```\n{told}\n```\n"
        )
    return "\n".join(parts)


def _docstring(rule: str) -> str:
    """Return what the program of a rule says of itself."""
    return ast.get_docstring(ast.parse((ROOT / "scripts" / f"{rule}.py").read_text())) or ""


def _rule_file(rule: str) -> Path:
    """Return the file in rules/ that holds a rule."""
    files = sorted((ROOT / "rules").glob("*.smk"))
    (found,) = [one for one in files if re.search(rf"^rule {rule}:", one.read_text(), re.M)]
    return found


def rule_graph() -> str:
    """Return the rules of the embedded default as a Mermaid picture.

    Solid edges carry files; dashed ones a finding that may forbid the job. What a rule waits for
    through others as well has no edge of its own, or these would hide the rest; nor have manifests
    that comparison and report read.
    """
    graph = invocation.graph_of(read_config_file(ROOT / "config" / "config.yaml"), ROOT)
    edges: dict[tuple[str, str], str] = {}
    for artifact in graph.artifacts.values():
        to = STAGES[artifact.stage].rule
        for ids in artifact.reads.values():
            edges |= {(STAGES[graph.artifacts[id].stage].rule, to): "-->" for id in ids}
        for gate in artifact.gates:
            source = STAGES[graph.artifacts[gate.artifact].stage].rule
            edges.setdefault((source, to), "-.->")
    lines = [
        f"    {source} {arrow} {to}"
        for (source, to), arrow in edges.items()
        if not _leads(source, to, set(edges) - {(source, to)})
    ]
    return "\n```mermaid\nflowchart LR\n" + "\n".join(lines) + "\n```\n\n"


def _leads(source: str, to: str, edges: Collection[tuple[str, str]]) -> bool:
    """Tell whether a way along the edges leads from one rule to another."""
    return any(end == to or _leads(end, to, edges) for start, end in edges if start == source)


def demo_page() -> str | None:
    """Return docs/demo.md from the newest report, or None where the demo was not run."""
    if not DEMO_REPORT.exists():
        return None
    made = datetime.datetime.fromtimestamp(DEMO_REPORT.stat().st_mtime, tz=datetime.UTC).date()
    lines = [
        line for line in DEMO_REPORT.read_text().strip().splitlines() if not line.startswith("# ")
    ]
    return (
        f"# What the demo finds\n\n<!-- {WRITER[1:-1]} -->\n\n"
        f"`comparison.md` of the embedded demo: {DEMO}.\n\n"
        + "\n".join(lines).strip()
        + f"\n\nMade by `make demo` on {machine()}, {made}.\n"
    )


def demo_tables(page: str) -> str:
    """Return the tables of docs/demo.md without what is said of them, for README.md."""
    parts = []
    for section in page.split("\n## ")[1:]:
        rows = [line for line in section.splitlines() if line.startswith("|")]
        if rows:
            parts.append(f"**{section.splitlines()[0]}**\n\n" + "\n".join(rows) + "\n")
    return "\n" + "\n".join(parts) + "\n"


def updated(text: str) -> str:
    """Return README.md's text with the tables of docs/demo.md."""
    return replace_part(text, "demo-tables", demo_tables(DEMO_PAGE.read_text()))


def main() -> None:
    """Rewrite docs/rules.md, docs/demo.md and README.md."""
    RULES_PAGE.write_text(rules_page())
    if page := demo_page():
        DEMO_PAGE.write_text(page)
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text()))


if __name__ == "__main__":
    main()
