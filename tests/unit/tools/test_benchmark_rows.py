"""Files as their authors publish them become rows that the entries in config/benchmarks/ ask."""

import json
import zipfile
from pathlib import Path

import pytest

from scripts.tools.benchmark_rows import main

ROW = ["駅とは何か。", "建物", "人", "色, または形", "数", "A"]


def written(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(*rows: list[str]) -> str:
    return "".join(",".join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)


def test_jmmlu_is_read_from_the_zip_file_of_the_hub(tmp_path, capsys):
    names = ["question", "A", "B", "C", "D", "answer"]
    with zipfile.ZipFile(tmp_path / "JMMLU.zip", "w") as archive:
        archive.writestr("JMMLU/test/anatomy.csv", "\ufeff" + table(names, ROW, ROW))
        archive.writestr("JMMLU/test/virology.csv", "\ufeff" + table(names, ROW))
        archive.writestr("__MACOSX/JMMLU/test/._virology.csv", b"\x00\x05\x16\x07")
    main(["jmmlu", str(tmp_path / "JMMLU.zip"), str(tmp_path / "out")])
    folder = tmp_path / "out/nlp-waseda/JMMLU"
    assert {path.name for path in folder.iterdir()} == {"anatomy", "virology"}
    assert written(folder / "anatomy/test.jsonl") == [dict(zip(names, ROW, strict=True))] * 2
    assert "3 questions" in capsys.readouterr().out


def test_jmmlu_is_read_from_a_clone_whose_tables_name_no_columns(tmp_path):
    place = tmp_path / "clone/JMMLU"
    place.mkdir(parents=True)
    (place / "anatomy.csv").write_text(table(ROW, ROW), encoding="utf-8")
    main(["jmmlu", str(tmp_path / "clone"), str(tmp_path / "out")])
    assert len(written(tmp_path / "out/nlp-waseda/JMMLU/anatomy/test.jsonl")) == 2


def test_a_row_that_is_too_short_is_not_half_read(tmp_path):
    (tmp_path / "anatomy.csv").write_text(table(ROW[:4]), encoding="utf-8")
    with pytest.raises(SystemExit, match="shorter"):
        main(["jmmlu", str(tmp_path), str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("benchmark", "text", "fault"),
    [
        ("alpaca_eval", '[{"prompt": "Say hi."}]', "KeyError: 'instruction'"),
        ("alpaca_eval", "[]", "holds no question"),
        ("llm_jp", "no JSON", "JSONDecodeError"),
        ("jmmlu", "no zip file", "BadZipFile"),
        ("jmmlu", None, "FileNotFoundError"),
    ],
)
def test_another_file_than_the_expected_one_is_said(tmp_path, benchmark, text, fault):
    source = tmp_path / "source"
    if text is not None:
        source.write_text(text)
    with pytest.raises(SystemExit, match=rf"^{source} .*{fault}"):
        main([benchmark, str(source), str(tmp_path / "out")])


def test_alpaca_eval_becomes_prompts_by_source(tmp_path):
    published = [
        {"instruction": "Say hi.", "output": "Hi.", "generator": "old", "dataset": "helpful_base"}
    ]
    (tmp_path / "alpaca_eval.json").write_text(json.dumps(published))
    main(["alpaca_eval", str(tmp_path / "alpaca_eval.json"), str(tmp_path / "out/a.jsonl")])
    expected = [{"prompt": "Say hi.", "category": "helpful_base"}]
    assert written(tmp_path / "out/a.jsonl") == expected


def test_what_llm_jp_eval_prepared_keeps_its_instruction_and_examples(tmp_path):
    prepared = {
        "instruction": "数を答えてください。",
        "output_length": 5,
        "metrics": ["exact_match"],
        "few_shots": [{"input": "1の次は?", "output": "2"}],
        "samples": [{"input": "2の次は?", "output": "3"}, {"input": "3の次は?", "output": "4"}],
    }
    (tmp_path / "numbers.json").write_text(json.dumps(prepared))
    main(["llm_jp", str(tmp_path / "numbers.json"), str(tmp_path / "out")])
    folder = tmp_path / "out/llm_jp/default"
    assert [row["output"] for row in written(folder / "test.jsonl")] == ["3", "4"]
    assert written(folder / "dev.jsonl") == [
        {"instruction": "数を答えてください。", "input": "1の次は?", "output": "2"}
    ]
