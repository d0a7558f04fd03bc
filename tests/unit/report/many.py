"""A made-up report of as many runs and subjects as wanted, for tests of what is drawn and how much.

Try it: python -m tests.unit.report.many FOLDER RUNS SUBJECTS
"""

import dataclasses
import itertools
import random
import sys
from pathlib import Path

from scripts.lib.report.page import render_page
from scripts.lib.score.statistics import paired_difference
from tests.unit.report_data import comparison, evidence

RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
RANKS = (8, 16, 32, 64)


def made_up(runs: int, subjects: int):
    """Return spec, comparison and manifests of runs that differ in learning rate, then rank.

    Beyond the grid of both, and where none of them is left, runs differ in their dropout.
    """
    rng = random.Random(3)
    spec, manifests = evidence()
    document = comparison()
    base, run, _ = spec.candidates
    view = document["benchmarks"]["mmlu"]
    document["benchmarks"] = {"mmlu": view}
    asked = [f"subject_number_{n}" for n in range(subjects)]
    before = {one: [rng.random() < 0.35 for _ in range(100)] for one in asked}
    view["subjects"] = {"smollm2": {one: _tally(before[one]) for one in asked}}
    view["subject_differences"] = {}
    scores, changes = view["candidates"]["gentle"], view["differences"]["gentle"]
    view["candidates"], view["differences"] = {"smollm2": view["candidates"]["smollm2"]}, {}
    candidates, listed = [base], [document["candidates"][0]]
    grid = itertools.product(range(10), RANKS, RATES)
    adapter, scored = manifests[run.artifacts["adapters"]], manifests[run.scores["mmlu"][0]]
    for number, (dropout, rank, rate) in zip(range(runs), grid, strict=False):
        name = f"grid-r{rank}-lr{rate:g}-{dropout}"
        own = adapter | {"id": f"adapters/{name}", "slug": name}
        own["spec"] = {
            "lora": {"r": rank, "alpha": 32, "dropout": dropout / 100},
            "training": {**adapter["spec"]["training"], "learning_rate": rate},
        }
        ids = tuple(f"scores/{name}-{one}" for one in asked)
        manifests |= {own["id"]: own}
        for one, id_ in zip(asked, ids, strict=True):
            manifests[id_] = scored | {"id": id_, "slug": f"{name}-{one}", "key": f"{number:020x}"}
        candidates.append(
            dataclasses.replace(
                run,
                name=name,
                scores={"mmlu": ids},
                artifacts={**run.artifacts, "adapters": own["id"]},
            )
        )
        listed.append({**document["candidates"][1], "name": name})
        shift = rng.uniform(-4, 4)
        view["candidates"][name] = scores
        view["differences"][name] = {
            part: {**change, "difference": shift, "interval": [shift - 1, shift + 1]}
            for part, change in changes.items()
        }
        after = {one: [a != (rng.random() < 0.1) for a in before[one]] for one in asked}
        view["subjects"][name] = {one: _tally(after[one]) for one in asked}
        view["subject_differences"][name] = {
            one: {"base": "smollm2", "noise": None, **_difference(before[one], after[one])}
            for one in asked
        }
    document["candidates"] = listed
    return dataclasses.replace(spec, candidates=tuple(candidates)), document, manifests


_KNOWN: dict = {}


def _difference(before, after):
    """Return a paired difference; equal flips are computed once, as 200 runs have many."""
    gained = sum(b and not a for a, b in zip(before, after, strict=True))
    lost = sum(a and not b for a, b in zip(before, after, strict=True))
    if (gained, lost) not in _KNOWN:
        _KNOWN[gained, lost] = paired_difference(before, after)
    return _KNOWN[gained, lost]


def _tally(answers):
    right = sum(answers)
    return {"n": len(answers), "correct": right, "accuracy": right / len(answers), "stderr": 0.05}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    page = render_page(*made_up(int(sys.argv[2]), int(sys.argv[3])))
    (folder / "index.html").write_text(page, encoding="utf-8")
