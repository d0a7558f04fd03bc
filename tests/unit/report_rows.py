"""A benchmark of choices and one of generated answers, scored by a base and two fine-tunes.

All by the stages' own functions; the generated texts are hostile.
"""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.benchmarks.exact_match.scores import aggregate
from scripts.lib.compare.comparison import compare_runs
from scripts.lib.compare.spec import CompareSpec
from scripts.lib.data.parquet import table_of
from scripts.lib.report.drill_down import RowFolders
from scripts.lib.report.page import ReportSpec, write_report
from scripts.tools.report_world import SCORES_SCHEMA, make_world

HOSTILE = "</script></td><img src=x onerror=alert(1)>'\"{{ 7*7 }} =1+1"
SUBJECTS = ("global_facts", "management")
CATEGORIES = {"global_facts": "Other", "management": "Other"}
ORDERS = 12
SECRET = "kept-to-ourselves"
FOUND = ["global_facts:3", "management:7"]
"""Questions that stand in the training rows of run-001."""

_FOUND = pa.schema(
    [
        *((name, pa.string()) for name in ("question_id", "subject", "how")),
        ("share", pa.float64()),
        *((name, pa.int64()) for name in ("train", "valid")),
        *((name, pa.string()) for name in ("split", "conversation_id", "question", "excerpt")),
    ]
)


def make_rows(folder, processes=1):
    """Make artifacts below *folder*, their comparison, and the report with and without texts."""
    world = make_world(folder, 3, SUBJECTS)
    for row in (folder / "benchmarks").glob("*/test/*.jsonl"):
        row.write_text(row.read_text().replace('"question": "', f'"question": "{SECRET} ', 1))
    for place, candidate in enumerate(world.candidates):
        _orders(folder, candidate, place)
    _questions(folder)
    _search(folder)
    for candidate in world.candidates[1:2]:
        candidate["searches"] = {"mmlu": ["contamination/made"]}
    compared, reported = world.specs()
    compared["benchmarks"] = ["mmlu", "orders"]
    reported["questions"].append({"benchmark": "orders", "questions": "benchmarks/orders"})
    for texts in (True, False):
        told = ({**one, "texts": texts} for one in (compared, reported))
        write(folder, world, *told, processes=processes)
    return world


def write(folder, world, compared, reported, name=None, processes=1):
    """Write a comparison and its report to folders that are named by whether they have texts."""
    stem = name or ("whole" if compared["texts"] else "bare")
    places = {path.relative_to(folder).as_posix(): path for path in folder.glob("*/*")}
    comparison, out = folder / f"{stem}-comparison", folder / f"{stem}-report"
    comparison.mkdir()
    out.mkdir()
    searches = {"contamination/made": folder / "contamination/made"}
    compare_runs(CompareSpec.from_json(compared), places, {}, comparison, searches)
    questions = {} if not reported["texts"] else places
    rows = RowFolders(scores=places, categories=places, questions=questions, searches=searches)
    spec = ReportSpec.from_json(reported)
    write_report(
        spec,
        comparison,
        world.manifests,
        out,
        scores=places,
        examples={},
        rows=rows,
        processes=processes,
    )
    return out


def _orders(folder, candidate, place):
    """Score an exact-match benchmark: the base is right on even places, fine-tunes on others."""
    name = candidate["name"]
    score, categories = f"scores/{name}-orders", f"categories/{name}-orders"
    for id_ in (score, categories):
        (folder / id_).mkdir(parents=True)
    rows = []
    for number in range(ORDERS):
        right = number % (place + 2) == 0
        said = f"{SECRET} {HOSTILE} {number if right else 'no'} tea" if number else "0 tea"
        rows.append(
            {
                "question_id": f"questions:{number}",
                "subject": "questions",
                "prediction": said,
                "answer": f"{number} tea",
                "correct": right,
                "response": said,
                "prompt_hash": f"p{number}",
                "token_hash": f"t{number}",
                "shots": 0,
            }
        )
    pq.write_table(table_of(rows, SCORES_SCHEMA), folder / score / "questions.parquet")
    (mmlu,) = [id_ for id_ in candidate["scores"]["mmlu"] if "global" in id_]
    for file in ("protocol.json", "provenance.json"):
        text = json.loads((folder / mmlu / file).read_text())
        if file == "protocol.json":
            text |= {"kind": "exact_match", "shots": 0, "max_new_tokens": 16}
        (folder / score / file).write_text(json.dumps(text))
    spec = {"kind": "exact_match", "benchmark": "orders", "categories": "none", "subjects": None}
    metric = {"name": "contains", "pattern": None, "ignore_case": False}
    aggregate(spec | {"metric": metric}, {"scores": [folder / score]}, folder / categories)
    candidate["scores"]["orders"] = [score]
    candidate["categories"]["orders"] = categories


def _questions(folder):
    place = folder / "benchmarks/orders"
    place.mkdir()
    rows = [
        {"prompt": f"{SECRET} Order {n} {HOSTILE}", "answer": f"{n} tea"} for n in range(ORDERS)
    ]
    (place / "questions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _search(folder):
    place = folder / "contamination/made"
    place.mkdir(parents=True)
    rows = [
        {"question_id": id_, "subject": id_.partition(":")[0], "how": "exact", "share": 1.0}
        | {"train": 1, "valid": 0, "split": "train", "conversation_id": "train:1"}
        | {"question": f"{SECRET} asked", "excerpt": f"{SECRET} said {HOSTILE}"}
        for id_ in FOUND
    ]
    pq.write_table(table_of(rows, _FOUND), place / "questions.parquet")
    counts = {"train": 1, "valid": 0}
    summary = {"kind": "mmlu", "ngram": 13, "threshold": 0.6, "shortest": 8, "questions": 203}
    summary |= {"short": 0, "conversations": counts, "found": counts, "exact": counts}
    (place / "summary.json").write_text(json.dumps(summary | {"holding": counts, "examples": []}))
