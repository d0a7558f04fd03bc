"""A project in which base and run have answered prompts as told, and nothing is judged yet."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.lib.jobs.job import Job
from scripts.lib.judge.prompt import Pair
from scripts.lib.plan.invocation import Invocation
from scripts.lib.score.files import PROTOCOL_FILE, QUESTIONS_TABLE
from scripts.tools.frozen_commands import commands
from tests.identity.world import World
from tests.identity.worlds import jsonl, make_local_world

PROTOCOL = {
    "kind": "judged_pairs",
    "shots": 0,
    "chat_template": True,
    "limit": None,
    "dtype": "float32",
    "max_new_tokens": 32,
    "on_long_prompt": "error",
    "backend": "shared-prefix",
    "fewer_shots": 0,
}


def pairs(count: int, base: Callable[[int], str], run: Callable[[int], str]) -> list[Pair]:
    """Return pairs whose answers follow from their number; every second one is about law."""
    return [
        Pair(
            id=f"prompts:{n}",
            category=("law", "art")[n % 2],
            request=f"Question {n}?",
            reference=None,
            base=base(n),
            run=run(n),
        )
        for n in range(count)
    ]


def write_answers(
    folder: Path, answers: list[str], subject: str = "prompts", *, tokens: str = "t"
) -> Path:
    """Write what the scoring stage makes of a benchmark of judged pairs.

    An answer that ends in an ellipsis was cut.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"question_id": f"{subject}:{n}", "subject": subject, "response": text}
        | {"ended": not text.endswith("…"), "token_hash": f"{tokens}{n}"}
        for n, text in enumerate(answers)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / QUESTIONS_TABLE)
    (folder / PROTOCOL_FILE).write_text(json.dumps(PROTOCOL))
    return folder


def write_prompts(folder: Path, count: int) -> Path:
    """Write the prompts that `pairs` is about."""
    folder.mkdir(parents=True, exist_ok=True)
    text = jsonl(
        *({"prompt": f"Question {n}?", "category": ("law", "art")[n % 2]} for n in range(count))
    )
    (folder / "questions.jsonl").write_text(text)
    return folder


@dataclass
class JudgedWorld(World):
    """A world whose candidates answer as told; all other work is pretended.

    Attributes:
        base: What the base model answers, by the number of the prompt.
        run: What a tuned model answers.
    """

    said: dict[str, list[str]] = field(default_factory=dict)

    def _work(self, id: str, job: Job) -> dict[str, Any]:
        if id.startswith("scores/"):
            who = "base" if job.ids["model"][0].startswith("models/") else "run"
            write_answers(job.out, self.said[who])
            return {"n": len(self.said[who])}
        return super()._work(id, job)

    def command(self, invocation: Invocation, stage: str) -> list[str]:
        """Return the arguments with which a rule makes the one artifact of a stage."""
        (job,) = commands(self.home / invocation.file, stage)
        return ["--plan", str(invocation.file), *job.argv[2:]]


def make_judged_world(base: Path, judge: dict[str, Any], said: dict[str, list[str]]) -> JudgedWorld:
    """Make a world of one run and one benchmark whose answers are there."""
    local = make_local_world(base)
    world = JudgedWorld(base, local.config, said=said)
    world.config["runs"] = {"gentle": local.config["runs"]["gentle"]}
    benchmark = {"kind": "judged_pairs", "path": "data/prompts/questions.jsonl", "judge": judge}
    world.config["benchmarks"] = {"pairs": benchmark}
    del world.config["datasets"]["chats"]
    write_prompts(world.home / "data/prompts", len(said["base"]))
    return world
