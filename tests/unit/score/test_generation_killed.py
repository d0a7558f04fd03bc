"""A scoring job that is killed while it generates."""

import pytest

from scripts.lib.score import generation, scoring
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import score, spec, write_rows


def test_a_job_killed_in_mid_generation_asks_nothing_twice_and_loses_nothing(tmp_path, monkeypatch):
    model = make_tiny_model(tmp_path / "tiny")
    rows = [{"prompt": f"How much is {n} + {n}?", "answer": str(2 * n)} for n in range(8)]
    benchmark = tmp_path / "benchmark"
    write_rows(benchmark / "questions.jsonl", rows)
    asked = spec(kind="exact_match", shots=0, max_new_tokens=12, chat_template=True)
    monkeypatch.setattr(scoring, "_BLOCK_ANSWERS", 3)
    _, expected = score(asked, model, benchmark, tmp_path / "unbroken")

    answers, said = generation.Generator.answers, []

    def killed(generator, prompts):
        for answer in answers(generator, prompts):
            said.append(answer)
            if len(said) == 5:
                raise KeyboardInterrupt
            yield answer

    monkeypatch.setattr(generation.Generator, "answers", killed)
    with pytest.raises(KeyboardInterrupt):
        score(asked, model, benchmark, tmp_path / "broken")
    again = []

    def counted(generator, prompts):
        again.extend(prompts)
        return answers(generator, prompts)

    monkeypatch.setattr(generation.Generator, "answers", counted)
    _, resumed = score(asked, model, benchmark, tmp_path / "broken")
    assert len(again) == len(rows) - 3, "the block that was finished is not asked again"
    assert resumed == expected
    assert [row["question_id"] for row in resumed] == [f"questions:{n}" for n in range(8)]
    tables = [tmp_path / n / "out" / "questions.parquet" for n in ("unbroken", "broken")]
    assert tables[0].read_bytes() == tables[1].read_bytes()
