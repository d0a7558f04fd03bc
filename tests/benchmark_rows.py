"""A few rows of each dataset that config/benchmarks/ asks, in that dataset's columns.

The texts are made up; columns, splits and types are those of the datasets' cards, or of what the
tasks read where no card told.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Splits = dict[str, list[Row]]


def _truthfulqa(_: str | None) -> Splits:
    def row(n: int) -> Row:
        true, false = f"No, {n} is a number.", f"Yes, {n} is a colour."
        return {
            "question": f"Is {n} a colour?",
            "mc1_targets": {"choices": [true, false], "labels": [1, 0]},
            "mc2_targets": {"choices": [true, "No.", false], "labels": [1, 1, 0]},
        }

    return {"validation": [row(n) for n in range(3)]}


def _bbh(_: str | None) -> Splits:
    return {"test": [{"input": f"not {value} is", "target": str(not value)} for value in (0, 1)]}


def _gsm8k(_: str | None) -> Splits:
    def row(n: int) -> Row:
        return {
            "question": f"Ann has {n} pens and buys 2. How many has she?",
            "answer": f"She has {n} + 2 = <<{n}+2={n + 2}>>{n + 2} pens.\n#### {n + 2}",
        }

    return {"train": [row(n) for n in range(10, 18)], "test": [row(n) for n in range(3)]}


def _humaneval(_: str | None) -> Splits:
    def row(n: int) -> Row:
        return {
            "task_id": f"HumanEval/{n}",
            "prompt": f'def add(x: int) -> int:\n    """Return x and {n}."""\n',
            "canonical_solution": f"    return x + {n}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n",
            "entry_point": "add",
        }

    return {"test": [row(n) for n in range(2)]}


def _math(_: str | None) -> Splits:
    def row(n: int) -> Row:
        return {
            "problem": f"What is ${n}+\\frac{{1}}{{2}}$?",
            "level": "Level 1",
            "type": "Algebra",
            "solution": f"It is $\\boxed{{\\frac{{{2 * n + 1}}}{{2}}}}$.",
        }

    return {"train": [row(n) for n in range(5)], "test": [row(n) for n in range(2)]}


def _ifeval(_: str | None) -> Splits:
    # Every row has every argument; those that its instructions do not have are null.
    arguments = [
        *("capital_frequency", "capital_relation", "end_phrase", "first_word", "forbidden_words"),
        *("frequency", "keyword", "keywords", "language", "let_frequency", "let_relation"),
        *("letter", "nth_paragraph", "num_bullets", "num_highlights", "num_paragraphs"),
        *("num_placeholders", "num_sections", "num_sentences", "num_words", "postscript_marker"),
        *("prompt_to_repeat", "relation", "section_spliter"),
    ]

    def row(key: int, prompt: str, **instructions: Row) -> Row:
        return {
            "key": key,
            "prompt": prompt,
            "instruction_id_list": [name.replace("__", ":") for name in instructions],
            "kwargs": [dict.fromkeys(arguments) | given for given in instructions.values()],
        }

    return {
        "train": [
            row(1000, "Name two birds without commas.", punctuation__no_comma={}),
            row(
                1001,
                "Answer in English, in capitals, in at least 2 sentences.",
                language__response_language={"language": "en"},
                change_case__capital_word_frequency={
                    "capital_relation": "at least",
                    "capital_frequency": 2,
                },
                length_constraints__number_sentences={
                    "relation": "at least",
                    "num_sentences": 2,
                },
            ),
        ]
    }


def _jcommonsenseqa(_: str | None) -> Splits:
    def row(n: int) -> Row:
        choices = {f"choice{place}": f"答え{place}" for place in range(5)}
        return {"q_id": n, "question": f"{n}番目はどれ?", **choices, "label": n % 5}

    return {"train": [row(n) for n in range(5)], "validation": [row(n) for n in range(2)]}


def _jsquad(_: str | None) -> Splits:
    def row(n: int) -> Row:
        return {
            "id": f"a{n}p0q0",
            "title": "駅",
            "context": f"駅 [SEP] この駅は{n}番線まである。",
            "question": "何番線まであるか?",
            "answers": {"text": [f"{n}番線"], "answer_start": [10]},
            "is_impossible": False,
        }

    return {"train": [row(n) for n in range(4)], "validation": [row(n) for n in range(2)]}


def _mgsm_ja(_: str | None) -> Splits:
    def row(n: int, *, solved: bool) -> Row:
        return {
            "question": f"{'問題：' if solved else ''}ペンが{n}本と2本あります。全部で何本ですか?",
            "answer": f"ステップごとの答え：{n} + 2 = {n + 2}。答えは{n + 2}です。"
            if solved
            else None,
            "answer_number": n + 2,
            "equation_solution": f"{n}+2={n + 2}" if solved else None,
        }

    return {
        "train": [row(n, solved=True) for n in range(8)],
        "test": [row(n, solved=False) for n in range(2)],
    }


def _jmmlu(_: str | None) -> Splits:
    def row(n: int) -> Row:
        choices = {letter: f"{letter}の答え{n}" for letter in "ABCD"}
        return {"question": f"質問{n}はどれか。", **choices, "answer": "ABCD"[n % 4]}

    return {"test": [row(n) for n in range(6)]}


def _llm_jp(_: str | None) -> Splits:
    def row(n: int) -> Row:
        return {"instruction": "数を答えてください。", "input": f"{n}の次は?", "output": str(n + 1)}

    return {"dev": [row(n) for n in range(4)], "test": [row(n) for n in range(5, 7)]}


def _kmmlu(_: str | None) -> Splits:
    def row(n: int) -> Row:
        choices = {letter: f"{letter} 답 {n}" for letter in "ABCD"}
        rest = {"Category": "Accounting", "Human Accuracy": 0.5}
        return {"question": f"{n}번 문제는?", "answer": n % 4 + 1, **choices, **rest}

    return {"dev": [row(n) for n in range(5)], "test": [row(n) for n in range(2)]}


def _haerae(_: str | None) -> Splits:
    def row(n: int) -> Row:
        options = [f"({letter}) 답 {n}" for letter in "ABCDE"]
        query = f"다음은 {n}번 질문이다.\n### 선택지:\n" + "\n".join(options) + "\n### 정답:"
        return {"query": query, "options": str(options), "answer": f"({'ABCDE'[n % 5]})"}

    return {"test": [row(n) for n in range(3)]}


def _kobest(name: str | None) -> Splits:
    rows: dict[str, Callable[[int], Row]] = {
        "boolq": lambda n: {"paragraph": f"{n}은 수다.", "question": f"{n}은 수인가?"},
        "copa": lambda n: {
            "premise": f"{n}시에 비가 왔다.",
            "question": ("원인", "결과")[n % 2],
            "alternative_1": "구름이 있었다.",
            "alternative_2": "땅이 젖었다.",
        },
        "hellaswag": lambda n: {
            "context": f"{n}시가 되었다.",
            **{f"ending_{place}": f"{place}번 끝" for place in range(1, 5)},
        },
        "sentineg": lambda n: {"sentence": f"{n}번 물건이 좋아요."},
        "wic": lambda n: {"word": "배", "context_1": f"[배] {n}척", "context_2": "[배]를 먹다"},
    }
    made = rows[str(name)]
    return {
        split: [{**made(n), "label": n % 2} for n in range(2)]
        for split in ("train", "validation", "test")
    }


def _kormedmcqa(_: str | None) -> Splits:
    def row(n: int) -> Row:
        choices = {letter: f"{letter} 답 {n}" for letter in "ABCDE"}
        rest = {"subject": "doctor", "year": 2012, "period": 1, "q_number": n, "cot": ""}
        return {**rest, "question": f"{n}번 문제는?", **choices, "answer": n % 5 + 1}

    return {"fewshot": [row(n) for n in range(5)], "test": [row(n) for n in range(2)]}


BUILDERS: dict[str, Callable[[str | None], Splits]] = {
    "truthfulqa/truthful_qa": _truthfulqa,
    "SaylorTwift/bbh": _bbh,
    "openai/gsm8k": _gsm8k,
    "openai/openai_humaneval": _humaneval,
    "EleutherAI/hendrycks_math": _math,
    "google/IFEval": _ifeval,
    "sbintuitions/JCommonsenseQA": _jcommonsenseqa,
    "sbintuitions/JSQuAD": _jsquad,
    "sbintuitions/MGSM_ja": _mgsm_ja,
    "nlp-waseda/JMMLU": _jmmlu,
    "llm_jp": _llm_jp,
    "HAERAE-HUB/KMMLU": _kmmlu,
    "HAERAE-HUB/HAE_RAE_BENCH": _haerae,
    "skt/kobest_v1": _kobest,
    "sean0042/KorMedMCQA": _kormedmcqa,
}
"""Dataset -> the function that makes rows for one of its configurations."""


def write_rows(folder: Path, dataset: str, name: str | None) -> None:
    """Write the rows of a dataset where a benchmark's `data` looks for them."""
    for split, rows in BUILDERS[dataset](name).items():
        file = folder / dataset / (name or "default") / f"{split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.write_text("".join(lines), encoding="utf-8")
