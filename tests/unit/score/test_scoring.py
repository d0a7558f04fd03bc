"""Properties of scoring, with lm-eval's own `simple_evaluate` as the yardstick."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from scripts.lib.benchmarks.mmlu.questions import mmlu_task, read_subject
from scripts.lib.errors import ScoreError
from scripts.lib.progress import VARIABLE, read_note
from scripts.lib.questions.choices import grade_choices
from scripts.lib.questions.prompts import Chat, load_tokenizer
from scripts.lib.questions.spec import ScoreSpec
from scripts.lib.questions.tasks import ask
from scripts.lib.score.journal import read_block
from scripts.lib.score.respondent import Respondent
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import SUBJECTS, rows, score, spec, write_benchmark


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def benchmark_folder(tmp_path):
    return write_benchmark(tmp_path / "benchmark")


def lm_eval_task(subject, test, dev):
    """Return lm-eval's own YAML for an MMLU subject, over local rows."""
    from datasets import Dataset, DatasetDict

    package = importlib.util.find_spec("lm_eval")
    folder = Path(package.submodule_search_locations[0]) / "tasks" / "mmlu" / "default"
    task = yaml.safe_load((folder / "_default_template_yaml").read_text())
    task |= yaml.safe_load((folder / f"mmlu_{subject}.yaml").read_text())
    for key in ("include", "dataset_path", "dataset_name", "tag", "metadata"):
        task.pop(key)
    data = DatasetDict({"test": Dataset.from_list(test), "dev": Dataset.from_list(dev)})
    return task | {"task": subject, "custom_dataset": lambda **_: data}


def lm_eval_samples(model, task, *, shots, chat_template):
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    results = simple_evaluate(
        HFLM(pretrained=str(model), dtype="float32", batch_size=4, device="cpu"),
        tasks=[task],
        num_fewshot=shots,
        task_manager=TaskManager(include_defaults=False),
        apply_chat_template=chat_template,
        bootstrap_iters=1,
    )
    return results["samples"][task["task"]]


@pytest.mark.parametrize(("shots", "chat_template"), [(0, False), (2, False), (2, True)])
def test_prompts_and_answers_are_those_of_lm_eval(
    model, benchmark_folder, tmp_path, shots, chat_template
):
    subject = "abstract_algebra"
    test, dev = rows(subject, 6), rows(subject, 3, salt="Example of ")
    theirs = lm_eval_samples(
        model, lm_eval_task(subject, test, dev), shots=shots, chat_template=chat_template
    )
    asked = spec(subject=subject, shots=shots, chat_template=chat_template)
    _, ours = score(asked, model, benchmark_folder, tmp_path)
    tokenizer = load_tokenizer(model, chat_template=chat_template)
    chat = Chat(tokenizer) if chat_template else None
    questions = list(
        ask(mmlu_task(subject, test, dev, shots=shots), subject, chat=chat, grade=grade_choices)
    )
    for sample, question, answer in zip(theirs, questions, ours, strict=True):
        assert sample["arguments"] == [request.args for request in question.requests]
        assert answer["correct"] == bool(sample["acc"])
        expected = [logprob for logprob, _ in sample["filtered_resps"]]
        assert answer["logprobs"] == pytest.approx(expected, abs=1e-5)


def test_real_questions_are_asked_in_lm_eval_s_words(model):
    folder = os.environ.get("TUNESMITH_REAL_DATA")
    if not folder:
        pytest.skip("TUNESMITH_REAL_DATA does not name a folder with mmlu/test and mmlu/dev")
    from lm_eval.api.task import ConfigurableTask

    for subject in ("high_school_us_history", "formal_logic"):
        test, dev = read_subject(Path(folder) / "mmlu", subject, shots=5, limit=None)
        theirs = ConfigurableTask(config=lm_eval_task(subject, test, dev) | {"num_fewshot": 5})
        theirs.set_fewshot_seed(1234)
        ours = ask(mmlu_task(subject, test, dev, shots=5), subject, chat=None, grade=grade_choices)
        for doc, question in zip(theirs.eval_docs, ours, strict=True):
            assert question.prompt == theirs.fewshot_context(doc, num_fewshot=5)


def test_the_prompt_is_the_one_of_the_paper(model, benchmark_folder, tmp_path):
    test, dev = rows("abstract_algebra", 1), rows("abstract_algebra", 2)
    (question,) = ask(
        mmlu_task("abstract_algebra", test, dev, shots=1),
        "abstract_algebra",
        chat=None,
        grade=grade_choices,
    )
    assert question.prompt == (
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "abstract_algebra: how much is 0 + {{ 0 }}?\nA. 0\nB. 0\nC. 0%\nD. none\nAnswer: A\n\n"
        "abstract_algebra: how much is 0 + {{ 0 }}?\nA. 0\nB. 0\nC. 0%\nD. none\nAnswer:"
    )


def test_facts_protocol_and_table_agree(model, benchmark_folder, tmp_path):
    facts, answers = score(spec(limit=4), model, benchmark_folder, tmp_path)
    assert facts["n"] == len(answers) == 8
    assert facts["correct"] == sum(answer["correct"] for answer in answers)
    protocol = json.loads((tmp_path / "out" / "protocol.json").read_text())
    assert protocol == facts["protocol"]
    assert protocol["limit"] == 4 and "subject" not in protocol
    assert protocol["backend"] == "shared-prefix"
    assert [answer["question_id"] for answer in answers][:2] == [
        "abstract_algebra:0",
        "abstract_algebra:1",
    ]
    for answer in answers:
        best = max(range(4), key=lambda choice: answer["logprobs"][choice])
        assert answer["prediction"] == "ABCD"[best]
        assert answer["correct"] == (answer["prediction"] == answer["answer"])


def test_equal_work_gives_equal_bytes(model, benchmark_folder, tmp_path):
    score(spec(), model, benchmark_folder, tmp_path / "one")
    score(spec(), model, benchmark_folder, tmp_path / "two")
    first, second = ((tmp_path / n / "out" / "questions.parquet") for n in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_the_batch_size_changes_no_answer(model, benchmark_folder, tmp_path):
    _, one = score(spec(), model, benchmark_folder, tmp_path / "one", batch_size=1)
    _, many = score(spec(), model, benchmark_folder, tmp_path / "many", batch_size=16)
    for a, b in zip(one, many, strict=True):
        assert a["prediction"] == b["prediction"]
        assert a["logprobs"] == pytest.approx(b["logprobs"], abs=1e-5)


def test_subjects_asked_alone_give_what_one_job_of_all_gives(model, benchmark_folder, tmp_path):
    _, whole = score(spec(), model, benchmark_folder, tmp_path / "whole")
    parts = []
    for subject in reversed(SUBJECTS):
        _, part = score(spec(subject=subject), model, benchmark_folder, tmp_path / subject)
        parts = part + parts
    # Not approximately: to the last bit.
    assert parts == whole


def test_a_job_stopped_after_a_subject_goes_on_with_the_next(
    model, benchmark_folder, tmp_path, monkeypatch
):
    score(spec(), model, benchmark_folder, tmp_path / "unbroken")
    asked = []
    answer = Respondent.answer

    def stop_at_anatomy(self, block):
        asked.append(block[0].subject)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return answer(self, block)

    monkeypatch.setattr(Respondent, "answer", stop_at_anatomy)
    with pytest.raises(KeyboardInterrupt):
        score(spec(), model, benchmark_folder, tmp_path / "broken")
    score(spec(), model, benchmark_folder, tmp_path / "broken")
    assert asked == ["abstract_algebra", "anatomy", "anatomy"]
    tables = [tmp_path / name / "out" / "questions.parquet" for name in ("unbroken", "broken")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_a_complete_journal_needs_no_weights(model, benchmark_folder, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare")
    _, first = score(spec(), bare, benchmark_folder, tmp_path)
    (bare / "model.safetensors").unlink()
    _, again = score(spec(), bare, benchmark_folder, tmp_path)
    assert first == again


def test_a_journal_of_other_prompts_is_not_believed(model, benchmark_folder, tmp_path):
    score(spec(shots=1), model, benchmark_folder, tmp_path)
    test, dev = rows("anatomy", 6), rows("anatomy", 3, salt="Example of ")
    for shots, believed in ((1, True), (2, False)):
        block = list(
            ask(
                mmlu_task("anatomy", test, dev, shots=shots),
                "anatomy",
                chat=None,
                grade=grade_choices,
            )
        )
        assert (read_block(tmp_path / "scratch", block) is not None) == believed


@pytest.mark.parametrize("damage", [lambda found: found[:-20], lambda found: b"\xff" * len(found)])
def test_a_torn_journal_file_is_asked_again(model, benchmark_folder, tmp_path, damage):
    _, first = score(spec(), model, benchmark_folder, tmp_path)
    file = tmp_path / "scratch" / "anatomy.000000.jsonl"
    file.write_bytes(damage(file.read_bytes()))
    _, again = score(spec(), model, benchmark_folder, tmp_path)
    assert first == again


def test_weights_that_are_not_numbers_are_an_error_not_an_answer(model, benchmark_folder, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights = {name: torch.full_like(tensor, float("nan")) for name, tensor in weights.items()}
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ScoreError, match="abstract_algebra:0 is not a number"):
        score(spec(), broken, benchmark_folder, tmp_path)


def test_a_spec_from_json_is_the_spec():
    parsed = json.loads(json.dumps(spec().__dict__))
    assert ScoreSpec.from_json(parsed) == spec()


def test_a_job_leaves_word_of_how_far_it_is(model, benchmark_folder, tmp_path, monkeypatch):
    place = tmp_path / "progress.json"
    monkeypatch.setenv(VARIABLE, str(place))
    score(spec(subject=SUBJECTS[0]), model, benchmark_folder, tmp_path)
    count = len(read_subject(benchmark_folder, SUBJECTS[0], shots=2, limit=None)[0])
    assert f"{count} of {count} questions" in read_note(place)["text"]
