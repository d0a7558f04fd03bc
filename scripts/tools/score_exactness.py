"""Compare our answers with those of lm-eval's `hf` model on MMLU, subject by subject, in float32.

Every finished subject is a line of a journal; a run that was stopped goes on with the next. There
are two. lm-eval's answers, which take hours, belong to one model, choice of questions, way of
asking and version of lm-eval and its libraries, and are kept whatever becomes of our code. The
comparison belongs to our code, too: what is edited is compared anew.

Try it: make score-exactness DATA=/folder/of/mmlu QUESTIONS=4
"""

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.files import sha256_of
from scripts.lib.questions.question import Question
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


def compare(
    peers: Peers, data: Path, subject: str, options: argparse.Namespace, answers: Path
) -> dict[str, Any]:
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
    seconds = time.monotonic() - began
    theirs = lm_eval_answers(answers, subject, questions, lambda: peers.hf(options.batch))
    return {
        "subject": subject,
        "questions": len(questions),
        "agreement": agreement(ours, theirs["logprobs"]),
        "max_logprob_diff_nats": largest_difference(ours, theirs["logprobs"]),
        "correct": _correct(questions, ours),
        "correct_by_lm_eval": _correct(questions, theirs["logprobs"]),
        "seconds": round(seconds, 1),
        "seconds_of_lm_eval": theirs["seconds"],
    }


def lm_eval_answers(
    journal: Path, subject: str, questions: Sequence[Question], model: Callable[[], Any]
) -> dict[str, Any]:
    """Return lm-eval's answers to a subject's questions, asked now unless the journal has them.

    Args:
        journal: A line for each subject that was asked.
        subject: Its name.
        questions: What is asked; answers to other prompts are not taken.
        model: Returns lm-eval's model.
    """
    prompts = [question.prompt_hash for question in questions]
    for line in read_journal(journal):
        if line["subject"] == subject and line["prompts"] == prompts:
            return line
    began = time.monotonic()
    found = logprobs(model(), questions)
    seconds = round(time.monotonic() - began, 1)
    line = {"subject": subject, "seconds": seconds, "prompts": prompts, "logprobs": found}
    append(journal, line)
    return line


def _correct(questions: Sequence[Any], answers: Sequence[Sequence[float]]) -> int:
    pairs = zip(questions, answers, strict=True)
    return sum(question.doc["answer"] == row.index(max(row)) for question, row in pairs)


def journal_paths(
    folder: Path, model: Path, data: Path, options: argparse.Namespace
) -> tuple[Path, Path]:
    """Return where lm-eval's answers lie, and where our comparison with them."""
    asked = [
        [sha256_of(file) for file in sorted(model.glob("*.safetensors"))],
        {f"{file.parent.name}/{file.name}": sha256_of(file) for file in data.glob("*/*.jsonl")},
        {name: version(name) for name in ("lm_eval", "torch", "transformers")},
        [options.shots, options.chat, options.questions, options.batch],
    ]
    code = ProjectCode(ROOT).digest_of(ROOT / "scripts/lib/score/shared_prefix.py")
    return (
        folder / f"lm-eval-answers-{_key(asked)}.jsonl",
        folder / f"score-exactness-{_key([asked, code])}.jsonl",
    )


def _key(made_of: Any) -> str:
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def append(journal: Path, line: dict[str, Any]) -> None:
    """Add a line to a journal; half a line of a run that was stopped goes."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    lines = [*read_journal(journal), line]
    part = journal.with_suffix(".part")
    part.write_text("".join(json.dumps(one) + "\n" for one in lines))
    part.replace(journal)


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
        answers, path = journal_paths(options.journal, folder, data, options)
        done = {line["subject"] for line in read_journal(path)}
        peers = Peers(folder, "float32")
        for subject in subjects:
            if subject not in done:
                line = compare(peers, data, subject, options, answers)
                append(path, line)
                print(json.dumps(line), flush=True)
    lines = [line for line in read_journal(path) if line["subject"] in subjects]
    print(summary(lines, len(subjects)))
    if any(map(differs, lines)):
        sys.exit("our answers are not those of lm-eval")


if __name__ == "__main__":
    main()
