"""Compare our answers with those of lm-eval's `hf` model on MMLU, subject by subject, in float32.

Every finished subject is a line of the journal; a run that was stopped goes on with the next. The
journal belongs to one model, set and choice of questions, number of examples, code of ours and
version of lm-eval and its libraries, which its name says: what is edited is compared anew.

Try it: make score-exactness DATA=/folder/of/mmlu QUESTIONS=4
"""

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.files import sha256_of
from scripts.tools.peers import (
    Peers,
    agreement,
    largest_difference,
    logprobs,
    mmlu_folder,
    model_folder,
    questions_of,
)

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE_NATS = 1e-4


def compare(peers: Peers, data: Path, subject: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return one line of the journal."""
    questions = questions_of(
        data,
        subject,
        peers.tokenizer,
        count=options.questions or None,
        shots=options.shots,
        chat=options.chat,
    )
    began = time.monotonic()
    ours = logprobs(peers.ours(), questions)
    between = time.monotonic()
    theirs = logprobs(peers.hf(options.batch), questions)
    return {
        "subject": subject,
        "questions": len(questions),
        "agreement": agreement(ours, theirs),
        "max_logprob_diff_nats": largest_difference(ours, theirs),
        "correct": _correct(questions, ours),
        "correct_by_lm_eval": _correct(questions, theirs),
        "seconds": round(between - began, 1),
        "seconds_of_lm_eval": round(time.monotonic() - between, 1),
    }


def _correct(questions: Sequence[Any], answers: Sequence[Sequence[float]]) -> int:
    pairs = zip(questions, answers, strict=True)
    return sum(question.doc["answer"] == row.index(max(row)) for question, row in pairs)


def journal_path(folder: Path, model: Path, data: Path, options: argparse.Namespace) -> Path:
    """Return where the journal of this comparison lies."""
    made_of = [
        [sha256_of(file) for file in sorted(model.glob("*.safetensors"))],
        {f"{file.parent.name}/{file.name}": sha256_of(file) for file in data.glob("*/*.jsonl")},
        ProjectCode(ROOT).digest_of(ROOT / "scripts/lib/score/shared_prefix.py"),
        {name: version(name) for name in ("lm_eval", "torch", "transformers")},
        [options.shots, options.chat, options.questions],
    ]
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())
    return folder / f"score-exactness-{key.hexdigest()[:16]}.jsonl"


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return the finished subjects; a line that was being written when the run stopped is none."""
    if not path.exists():
        return []
    whole = path.read_text().rpartition("\n")[0].split("\n")
    return [json.loads(line) for line in whole if line]


def summary(lines: Sequence[dict[str, Any]], subjects: int) -> str:
    """Return what the finished subjects say together."""
    questions = sum(line["questions"] for line in lines)
    same = sum(line["agreement"] * line["questions"] for line in lines)
    largest = max(line["max_logprob_diff_nats"] for line in lines)
    ours, theirs = (sum(line[key] for line in lines) for key in ("correct", "correct_by_lm_eval"))
    return (
        f"{len(lines)} of {subjects} subjects, {questions:,} questions: {round(same):,} answers "
        f"are the same, log-probabilities differ by at most {largest:.1e} nats; "
        f"correct: {ours:,}, by lm-eval {theirs:,}"
    )


def differs(line: dict[str, Any]) -> bool:
    """Return whether a subject's answers are not those of lm-eval."""
    return bool(line["agreement"] < 1 or line["max_logprob_diff_nats"] > TOLERANCE_NATS)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare what is not in the journal yet; end with 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with test/ and dev/")
    parser.add_argument("--model", type=Path, help="model folder; the environment's by default")
    parser.add_argument("--subjects", nargs="+", help="only these")
    parser.add_argument("--questions", type=int, default=0, help="of each subject; 0 for all")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--chat", action="store_true", help="through the chat template")
    parser.add_argument("--batch", type=int, default=4, help="of lm-eval's model")
    parser.add_argument("--journal", type=Path, default=Path("results/bench"))
    options = parser.parse_args(argv)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    data = options.data or mmlu_folder()
    subjects = options.subjects or sorted(file.stem for file in data.glob("test/*.jsonl"))
    with model_folder(options.model) as folder:
        path = journal_path(options.journal, folder, data, options)
        lines = read_journal(path)
        done = {line["subject"] for line in lines}
        path.parent.mkdir(parents=True, exist_ok=True)
        # What a stopped run began to write goes.
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        peers = Peers(folder, "float32")
        for subject in subjects:
            if subject not in done:
                line = compare(peers, data, subject, options)
                with path.open("a") as stream:
                    stream.write(json.dumps(line) + "\n")
                lines.append(line)
                print(json.dumps(line), flush=True)
    print(summary(lines, len(subjects)))
    if any(map(differs, lines)):
        sys.exit("our answers are not those of lm-eval")


if __name__ == "__main__":
    main()
