"""Write the parts of README.md that are made from the code and from the demo's results.

The rule graph comes from the plan of the embedded default, the table of stages from the programs'
docstrings, the demo's table from results/report/ when it is there.

Try it: python -m scripts.tools.write_readme_parts
"""

import ast
import datetime
import re
from pathlib import Path

from scripts.lib.artifacts.stages import STAGES
from scripts.lib.config.load import read_config_file
from scripts.lib.plan import invocation
from scripts.tools.bench import machine

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO_TABLE = Path("results/report/comparison.md")
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
    """Return a Markdown table of rules: what each reads and writes, from the programs."""
    lines = ["| rule | what it does | reads | writes under `results/` |", "|---|---|---|---|"]
    for stage in STAGES.values():
        tree = ast.parse((ROOT / "scripts" / f"{stage.rule}.py").read_text())
        text = ast.get_docstring(tree) or ""
        reads = re.search(r"^Reads\s+(.*?)^Writes", text, re.MULTILINE | re.DOTALL)
        writes = re.findall(r"<artifact>/([^ \n]*)", text)
        if reads is None or not writes:
            raise ValueError(f"scripts/{stage.rule}.py does not say what it reads and writes")
        named = ", ".join(f"`{name}`" for name in writes if name) or "a complete folder"
        lines.append(
            f"| `{stage.rule}` | {text.splitlines()[0].rstrip('.')} |"
            f" {_plain(reads[1])} | `{stage.name}/`: {named} |"
        )
    return "\n" + "\n".join(lines) + "\n\n"


def _plain(text: str) -> str:
    """Return *text* on one line, with nothing that Markdown would take for a tag."""
    return " ".join(text.split()).replace("<", "&lt;")


def rule_graph() -> str:
    """Return the rules of the embedded default as a Mermaid picture.

    Solid edges carry files; dashed ones a finding that may forbid the job. Edges of which only
    the manifest is read (into comparison and report) are left out, or they would hide the rest.
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
    lines = [f"    {source} {arrow} {to}" for (source, to), arrow in edges.items()]
    return "\n```mermaid\nflowchart LR\n" + "\n".join(lines) + "\n```\n\n"


def demo_table() -> str | None:
    """Return the tables of the newest report, or None where the demo was not run."""
    if not DEMO_TABLE.exists():
        return None
    lines = [
        f"#{line}" if line.startswith("## ") else line
        for line in DEMO_TABLE.read_text().strip().splitlines()
        if not line.startswith("# ")
    ]
    made = datetime.datetime.fromtimestamp(DEMO_TABLE.stat().st_mtime, tz=datetime.UTC).date()
    source = f"Made by `make demo` on {machine()}, {made}."
    return "\n" + "\n".join(lines).strip() + f"\n\n{source}\n\n"


def updated(text: str) -> str:
    """Return README.md's text with every part that can be made here."""
    text = replace_part(text, "stages", stage_table())
    text = replace_part(text, "rulegraph", rule_graph())
    table = demo_table()
    return text if table is None else replace_part(text, "demo-table", table)


def main() -> None:
    """Rewrite README.md."""
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text()))


if __name__ == "__main__":
    main()
