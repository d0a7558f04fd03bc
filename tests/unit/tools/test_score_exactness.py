"""The comparison with lm-eval goes on where it stopped, and tells when answers differ."""

import json

import pytest

from scripts.tools import score_exactness
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import SUBJECTS, rows, write_benchmark, write_rows


@pytest.fixture
def arguments(tmp_path):
    model = make_tiny_model(tmp_path / "model")
    data = write_benchmark(tmp_path / "data")
    for subject in SUBJECTS:
        write_rows(data / "dev" / f"{subject}.jsonl", rows(subject, 5, salt="Example "))
    journal = tmp_path / "journal"
    return ["--data", str(data), "--model", str(model), "--journal", str(journal)]


def _comparison(tmp_path):
    (journal,) = (tmp_path / "journal").glob("score-exactness-*")
    return journal


def test_a_stopped_comparison_goes_on_with_the_next_subject(arguments, tmp_path, capsys):
    score_exactness.main([*arguments, "--subjects", SUBJECTS[0]])
    journal = _comparison(tmp_path)
    first = journal.read_text()
    journal.write_text(first + '{"subject": "bot')
    capsys.readouterr()
    score_exactness.main(arguments)
    printed = capsys.readouterr().out
    assert f'"subject": "{SUBJECTS[0]}"' not in printed
    assert "2 of 2 subjects, 12 questions: 12 answers are the same" in printed
    assert journal.read_text().startswith(first)
    assert [json.loads(line)["subject"] for line in journal.read_text().splitlines()] == list(
        SUBJECTS
    )


def test_another_choice_of_questions_has_a_journal_of_its_own(arguments, tmp_path):
    score_exactness.main([*arguments, "--subjects", SUBJECTS[0], "--questions", "2"])
    score_exactness.main([*arguments, "--subjects", SUBJECTS[0], "--questions", "2", "--shots=1"])
    assert len(list((tmp_path / "journal").glob("score-exactness-*"))) == 2
    assert len(list((tmp_path / "journal").glob("lm-eval-answers-*"))) == 2


def test_what_was_shown_for_other_code_or_other_questions_is_shown_anew(
    arguments, tmp_path, monkeypatch
):
    few = [*arguments, "--subjects", SUBJECTS[0], "--questions", "2"]
    score_exactness.main(few)
    write_rows(tmp_path / "data/test" / f"{SUBJECTS[0]}.jsonl", rows(SUBJECTS[0], 6, salt="Other "))
    score_exactness.main(few)
    assert len(list((tmp_path / "journal").glob("score-exactness-*"))) == 2
    monkeypatch.setattr(score_exactness.ProjectCode, "digest_of", lambda *_: "edited")
    # lm-eval's answers do not depend on our code.
    monkeypatch.setattr(score_exactness.Peers, "hf", lambda *_: pytest.fail("lm-eval was asked"))
    score_exactness.main(few)
    assert len(list((tmp_path / "journal").glob("score-exactness-*"))) == 3


def test_answers_that_lm_eval_gave_to_other_prompts_are_not_taken(arguments, tmp_path):
    few = [*arguments, "--subjects", SUBJECTS[0], "--questions", "2"]
    score_exactness.main(few)
    (answers,) = (tmp_path / "journal").glob("lm-eval-answers-*")
    line = json.loads(answers.read_text())
    answers.write_text(json.dumps(line | {"prompts": line["prompts"][::-1]}) + "\n")
    _comparison(tmp_path).unlink()
    score_exactness.main(few)
    kept = [json.loads(text) for text in answers.read_text().splitlines()]
    assert [one["prompts"] for one in kept] == [line["prompts"][::-1], line["prompts"]]
    assert kept[1]["logprobs"] == line["logprobs"]


def test_a_difference_ends_with_an_error(arguments, tmp_path):
    score_exactness.main([*arguments, "--subjects", SUBJECTS[0]])
    journal = _comparison(tmp_path)
    line = json.loads(journal.read_text()) | {"max_logprob_diff_nats": 2e-4}
    journal.write_text(json.dumps(line) + "\n")
    with pytest.raises(SystemExit, match="not those of lm-eval"):
        score_exactness.main([*arguments, "--subjects", SUBJECTS[0]])
