"""Tables of MMLU, CMMLU and C-Eval are asked as they were published: folders, zips, tars."""

import csv
import io
import json
import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.lib.artifacts.graph import Graph
from scripts.lib.benchmarks.mmlu.options import LocalMmlu
from scripts.lib.benchmarks.mmlu.questions import read_subject
from scripts.lib.errors import ConfigError
from scripts.lib.fetch.benchmarks import fetch_benchmark
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.remembered import CheckMemory, HashMemory
from scripts.lib.plan.sources import add_questions

ROWS = [
    {"question": 'Is "2, 3"\nodd?', "choices": ["é", "b, c", "", "None"], "answer": 3},
    {"question": " Who? ", "choices": ["1", "2", "3", "4"], "answer": 0},
]


def table(rows, columns=None, *, answers=True):
    """Return rows as CSV; without *columns* as MMLU has them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if columns:
        writer.writerow(columns)
    for number, row in enumerate(rows):
        cells = [row["question"], *row["choices"]]
        cells += ["ABCD"[row["answer"]]] if answers else []
        before = [] if columns is None else [str(number)]
        writer.writerow([*before, *cells, *(["why"] if "explanation" in (columns or ()) else [])])
    return text.getvalue()


CEVAL = ("id", "question", "A", "B", "C", "D", "answer", "explanation")
LAYOUTS = {
    "mmlu": lambda split, rows: (f"data/{split}/anatomy_{split}.csv", table(rows)),
    "cmmlu": lambda split, rows: (
        f"{split}/anatomy.csv",
        "\ufeff" + table(rows, ("", "Question", "A", "B", "C", "D", "Answer")),
    ),
    "ceval": lambda split, rows: (
        f"{split}/law_{split}.csv",
        table(rows, CEVAL[:6], answers=False) if split == "test" else table(rows, CEVAL),
    ),
}
OTHERS = {
    "data/README.txt": "about",
    "__MACOSX/test/._anatomy.csv": "x",
    "data/auxiliary_train/law.csv": "a,b",
}


def files_of(layout):
    asked = "val" if layout == "ceval" else "test"
    splits = {"dev": ROWS[::-1], asked: ROWS}
    if layout == "ceval":
        splits["test"] = ROWS[:1]
    if layout == "mmlu":
        splits["val"] = ROWS[:1]
    return dict(LAYOUTS[layout](split, rows) for split, rows in splits.items())


def write(folder, files, form):
    """Write files as a folder or an archive, and return its name."""
    if form == "folder":
        for name, text in files.items():
            (folder / "q" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "q" / name).write_text(text, newline="")
        return "q"
    if form == "zip":
        with zipfile.ZipFile(folder / "q.zip", "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return "q.zip"
    with tarfile.open(folder / f"q.{form}", "w:gz" if form == "tar.gz" else "w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return f"q.{form}"


def plan(folder, path, checks=None, **settings):
    graph = Graph(lambda *_: "0", dict.fromkeys(("datasets", "pandas", "pyarrow"), "1"))
    sources = LocalSources((folder,), HashMemory(folder / "memory.json"), checks)
    asked = LocalMmlu(kind="mmlu", path=path, **{"shots": 2, **settings})
    place = add_questions(graph, sources, asked, {})
    return graph.artifacts[place.id], place


def fetch(folder, artifact):
    out = folder / "out"
    out.mkdir()
    facts = fetch_benchmark(artifact.spec, [Path(source) for source in artifact.sources], out)
    return out, facts


def refusal(folder, path, **settings):
    with pytest.raises(ConfigError) as caught:
        plan(folder, path, **settings)
    return str(caught.value)


@pytest.mark.parametrize("form", ["folder", "zip", "tar", "tar.gz"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_tables_are_asked_as_they_are(tmp_path, layout, form, capsys):
    path = write(tmp_path, files_of(layout) | OTHERS, form)
    categories = {"categories": "ceval"} if layout == "ceval" else {}
    checks = CheckMemory()
    artifact, place = plan(tmp_path, path, checks, **categories)
    assert plan(tmp_path, path, checks, **categories) == (artifact, place)
    subject = "law" if layout == "ceval" else "anatomy"
    assert place.subjects == (subject,)
    out, facts = fetch(tmp_path, artifact)
    test, dev = read_subject(out, subject, shots=2, limit=None)
    assert [{key: row[key] for key in ROWS[0]} for row in test] == ROWS
    assert [{key: row[key] for key in ROWS[0]} for row in dev] == ROWS[::-1]
    val = layout == "ceval"
    assert facts == {"files": 2, "left_out": 0, "asked": ["val" if val else "test"]}
    assert ("the questions of val are asked" in capsys.readouterr().err) == val


def test_tables_make_the_rows_that_json_lines_do(tmp_path):
    artifact, _ = plan(tmp_path, write(tmp_path, files_of("mmlu"), "zip"))
    out, _ = fetch(tmp_path, artifact)
    lines = (out / "test/anatomy.jsonl").read_text().splitlines()
    assert list(map(json.loads, lines)) == [
        {
            "question": r["question"],
            "subject": "anatomy",
            "choices": r["choices"],
            "answer": r["answer"],
        }
        for r in ROWS
    ]


def test_a_table_that_changed_after_planning_is_refused(tmp_path):
    artifact, _ = plan(tmp_path, write(tmp_path, files_of("mmlu"), "zip"))
    write(tmp_path, files_of("cmmlu"), "zip")
    with pytest.raises(ConfigError, match="changed while it was planned"):
        fetch(tmp_path, artifact)


HEADER = "id,question,A,B,C,D,answer\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("question,A,B,C\n", r"anatomy\.csv: it has the columns question, A, B, C; a table of"),
        (f"{HEADER}1,q,a,b,c,d,E\n", r"anatomy\.csv:2 needs a letter from A to D .*not 'E'"),
        (f"{HEADER}1,q,a,b,c,d,A\n2,r,a,b,c,d,\n", r"anatomy\.csv:3 has no letter in `answer`"),
        (f"{HEADER}1,q,a,b,c,A\n", r"anatomy\.csv:2 has 6 columns, and not 7"),
        (f"{HEADER}1, ,a,b,c,d,A\n", r"anatomy\.csv:2 has no text in `question`"),
        ("", r"no test/\*\.csv or val/\*\.csv with answers"),
        ("id,question,A,B,C,D\n1,q,a,b,c,d\n", r"no test/\*\.csv or val/\*\.csv with answers"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_what_is_no_table_of_questions_is_told_at_planning(tmp_path, text, words, form):
    path = write(tmp_path, {"test/anatomy.csv": text}, form)
    assert re.search(words, refusal(tmp_path, path, shots=0))


def test_rows_of_tables_can_be_left_out_and_are_counted(tmp_path):
    text = f"{HEADER}1,q,a,b,c,d,A\n2,r,a,b,c,d,X\n"
    path = write(tmp_path, {"test/anatomy.csv": text}, "zip")
    artifact, _ = plan(tmp_path, path, shots=0, on_bad_row="leave_out")
    out, facts = fetch(tmp_path, artifact)
    assert (facts["left_out"], len(read_subject(out, "anatomy", shots=0, limit=None)[0])) == (1, 1)
    ledger = json.loads((out / "left_out.jsonl").read_text())
    assert (ledger["file"], ledger["row"]) == ("test/anatomy.jsonl", 3)


@pytest.mark.parametrize("name", ["q.zip", "q.tar", "q.tgz"])
def test_a_damaged_archive_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 and no more")
    assert re.search(rf"{name} cannot be read \(.*: fetch it anew", refusal(tmp_path, name))


def test_one_subject_twice_is_refused(tmp_path):
    files = {f"{folder}/test/anatomy.csv": f"{HEADER}1,q,a,b,c,d,A\n" for folder in "ab"}
    assert "anatomy is there twice in test" in refusal(tmp_path, write(tmp_path, files, "zip"))


def test_subjects_of_cmmlu_are_answered_with_its_categories(tmp_path):
    files = {"test/agronomy.csv": f"{HEADER}1,q,a,b,c,d,A\n"}
    path = write(tmp_path, files, "zip")
    assert "write `categories: cmmlu`" in refusal(tmp_path, path, shots=0)
    _, place = plan(tmp_path, path, shots=0, categories="cmmlu")
    assert place.subjects == ("agronomy",)


def test_too_few_examples_are_told_with_the_archive(tmp_path):
    path = write(tmp_path, files_of("mmlu"), "zip")
    assert re.search(r"q\.zip/dev has fewer of anatomy", refusal(tmp_path, path, shots=3))


def test_real_mmlu_is_the_same_as_tables(tmp_path):
    folder = os.environ.get("TUNESMITH_REAL_DATA")
    if not folder:
        pytest.skip("TUNESMITH_REAL_DATA names no folder with real questions")
    files, rows = {}, {}
    for place in sorted(Path(folder, "mmlu").glob("*/*.jsonl")):
        split = place.parent.name
        if split in ("dev", "test"):
            rows[f"{split}/{place.name}"] = list(
                map(json.loads, place.read_text().split("\n")[:-1])
            )
            name = f"data/{split}/{place.stem}_{split}.csv"
            files[name] = table(rows[f"{split}/{place.name}"])
    artifact, place = plan(tmp_path, write(tmp_path, files, "tar"), shots=5)
    out, _ = fetch(tmp_path, artifact)
    assert len(place.subjects) == 57
    for name, expected in rows.items():
        assert list(map(json.loads, (out / name).read_text().split("\n")[:-1])) == expected
