"""Whether a dataset's artifacts hold what its file says, read without any code of the project.

    python -m tests.ledger_check FILE results/chat/ID results/shards/ID name=Ada author=Lab

FILE is alpaca's or ShareGPT's JSON; the shards are ChatML's. The pairs fill placeholders.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from tokenizers import Tokenizer

END = "<|im_end|>"
ROLES = {"human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool"}


def expected_turns(raw: dict, fill: dict[str, str]) -> list[tuple[str, str, object]]:
    """Return (role, words, call) of each turn that can be trained on or read."""

    def filled(text: str) -> str:
        for name, value in fill.items():
            text = text.replace("{{" + name + "}}", value)
        return text

    if "conversations" not in raw:
        question = "\n".join(filter(None, (raw["instruction"], raw["input"])))
        return [("user", filled(question), None), ("assistant", filled(raw["output"]), None)]
    turns = []
    for turn in raw["conversations"]:
        call = json.loads(turn["value"]) if turn["from"] == "function_call" else None
        turns.append((ROLES[turn["from"]], "" if call else filled(turn["value"]), call))
    while turns and turns[-1][0] in ("user", "tool"):
        turns.pop()
    return turns


def read_table(folder: Path, pattern: str) -> list[dict]:
    """Return the rows of the tables of a folder."""
    return [row for file in sorted(folder.glob(pattern)) for row in pq.read_table(file).to_pylist()]


def faults(
    file: Path, chat: Path, shards: Path, fill: dict[str, str]
) -> tuple[list[str], dict[str, int]]:
    """Return what differs, in words, and how much was looked at."""
    rows = json.loads(file.read_text(encoding="utf-8"))
    found: list[str] = []
    ledger = read_table(chat, "ledger.parquet")
    if [line["row"] for line in ledger] != list(range(len(rows))):
        return ["the ledger's lines are not the file's rows"], {}

    seen: dict[str, int] = {}
    expected: dict[str, list] = {}
    for number, (raw, line) in enumerate(zip(rows, ledger, strict=True)):
        turns = expected_turns(raw, fill)
        same = json.dumps([turns, json.loads(raw.get("tools") or "[]")], sort_keys=True)
        first = seen.setdefault(same, number)
        verdict, reason = "kept", ""
        if "conversations" in raw and len(turns) < len(raw["conversations"]):
            verdict, reason = "fixed", "trailing_turn_cut"
        if first != number:
            verdict, reason = "dropped", "duplicate"
        if (line["verdict"], line["reason"]) != (verdict, reason):
            found.append(f"row {number}: {line['verdict']} {line['reason']}, and not {verdict}")
        if verdict != "dropped":
            expected[f"train:{number}"] = turns

    summary = json.loads((chat / "summary.json").read_text())
    verdicts = Counter(line["verdict"] for line in ledger)
    reasons = Counter(line["reason"] for line in ledger if line["reason"])
    if any(summary[name] != verdicts[name] for name in ("kept", "fixed", "dropped")):
        found.append(f"the summary counts {summary}, the ledger {verdicts}")
    if summary["rows"] != len(rows) or summary["by_reason"] != dict(reasons):
        found.append(f"the summary counts {summary}, the ledger {reasons}")

    there: dict[str, dict] = {}
    for split in ("train", "valid", "test"):
        for row in read_table(chat, f"{split}.parquet"):
            there[row["conversation_id"]] = row
            number = int(row["conversation_id"].partition(":")[2])
            if ledger[number]["split"] != split:
                found.append(f"{row['conversation_id']} stands in {split}")
    if there.keys() != expected.keys():
        found.append("the conversations are not the rows that the ledger keeps")
    for id_, row in there.items():
        said = [(turn["role"], turn["content"]) for turn in row["messages"]]
        if said != [(role, words) for role, words, _ in expected[id_]]:
            found.append(f"{id_}: other turns than in the file")

    lost, trained = _shards(shards, expected, found)
    return found, {"rows": len(rows), **verdicts, "not rendered": lost, "rows trained": trained}


def _shards(folder: Path, expected: dict[str, list], found: list[str]) -> tuple[int, int]:
    """Compare what is trained with the file's answers; return conversations lost, and rows."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    texts: dict[str, str] = {}
    shards = read_table(folder, "*-?????.parquet")
    trained_tokens = 0
    for row in shards:
        if tokenizer.decode(row["input_ids"], skip_special_tokens=False) != row["text"]:
            found.append(f"{row['conversation_id']}: the tokens are not the text")
        marked = zip(row["input_ids"], row["loss_mask"], strict=True)
        trained = [number for number, mask in marked if mask]
        trained_tokens += sum(row["loss_mask"][1:])
        id_ = row["conversation_id"].partition("#")[0]
        texts[id_] = texts.get(id_, "") + tokenizer.decode(trained, skip_special_tokens=False)
    for id_, text in texts.items():
        answers = [(words, call) for role, words, call in expected[id_] if role == "assistant"]
        if len(parts := text.split(END)) != len(answers) + 1 or parts[-1]:
            found.append(f"{id_}: {len(parts) - 1} ends for {len(answers)} answers")
            continue
        for part, (words, call) in zip(parts, answers, strict=False):
            body = part.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
            right = part == words if call is None else json.loads(body) == call
            if not right:
                found.append(f"{id_}: trains {part[:60]!r}, the file has {words[:60]!r} {call}")
    summary = json.loads((folder / "summary.json").read_text())
    lost = sum(summary["dropped"].values())
    if summary["conversations"] != len(expected) or summary["kept"] != len(texts):
        found.append("the summary of the shards counts other conversations")
    if lost != len(expected) - len(texts) or summary["rows"] != len(shards):
        found.append("the summary of the shards counts other rows")
    if trained_tokens != sum(one["trained_tokens"] for one in summary["splits"].values()):
        found.append("the summary of the shards counts other trained tokens")
    return lost, len(shards)


if __name__ == "__main__":
    file, chat, shards, *pairs = sys.argv[1:]
    wrong, counts = faults(
        Path(file), Path(chat), Path(shards), dict(pair.split("=", 1) for pair in pairs)
    )
    print(counts)
    print("\n".join(wrong) or "all is as the file says")
    sys.exit(bool(wrong))
