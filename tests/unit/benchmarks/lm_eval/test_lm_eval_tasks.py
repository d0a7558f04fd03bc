"""What is told before a model is loaded, a user's own tasks, and what another metric costs."""

import json
import shutil

import lm_eval
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer

from scripts.lib.benchmarks.lm_eval import questions as lm_eval_scoring
from scripts.lib.compare.wording import protocol_words
from scripts.lib.errors import ConfigError, GateError, ScoreError
from scripts.lib.jobs.checks import check_gate
from scripts.lib.score import journal, scoring
from tests.tiny_model import make_tiny_model
from tests.unit.benchmarks.lm_eval.test_lm_eval_scoring import counted, lm_eval_spec
from tests.unit.lm_eval_data import fetch, write_data
from tests.unit.scoring_data import score

OWN = {
    "tasks/mine.yaml": """\
include: ../common/base.yaml
task: mine
doc_to_text: !function shaping.text
process_results: !function shaping.results
metric_list:
  - {metric: length, aggregation: mean, higher_is_better: true}
  - {metric: right, aggregation: mean, higher_is_better: true}
  - {metric: spread, aggregation: !function shaping.spread, higher_is_better: true}
  - {metric: loss, aggregation: mean, higher_is_better: false}
""",
    "common/base.yaml": """\
dataset_path: json
dataset_kwargs:
  data_files:
    test: rows/test.jsonl
output_type: generate_until
test_split: test
doc_to_target: answer
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
metadata: {version: 7}
""",
    "tasks/shaping.py": """\
from words import BEFORE


def text(doc):
    return BEFORE + doc["question"]


def results(doc, replies):
    reply = replies[0]
    scores = {"length": len(reply) / 100, "right": float(reply == doc["answer"])}
    return {**scores, "spread": len(reply), "loss": 1.0, "note": "no number"}


def spread(values):
    return max(values) - min(values)
""",
    "tasks/words.py": 'BEFORE = "Say: "\n',
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def refused(tmp_path, tasks, **options):
    with pytest.raises(ConfigError) as error:
        fetch(tmp_path / "out", tasks, **options)
    return str(error.value)


def own_files(folder, **changed):
    """Write a user's own task; return the files as planning names them."""
    files = {}
    for name, text in (OWN | changed).items():
        path = folder / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        files[f"own/{name}"] = path
    rows = folder / "rows.jsonl"
    rows.write_text("".join(f'{{"question": "{n}", "answer": "{n}"}}\n' for n in range(3)))
    return files | {"local/rows/test.jsonl": rows}


def test_one_error_names_everything_that_will_not_do(data, tmp_path):
    text = refused(
        tmp_path,
        ["gsm8k", "gsm9k", "wikitext", "squadv2", "mmlu_anatomy", "mmmu_val_art"],
        data=data,
    )
    lines = {line.split(":")[0].strip(): line for line in text.splitlines()}
    assert "gsm8k" in lines["gsm9k"]
    assert "word_perplexity is no mean over questions" in lines["wikitext"]
    assert "written in Python" in lines["squadv2"]
    assert "cais/mmlu/anatomy/test.{jsonl,csv,parquet}" in lines["mmlu_anatomy"]
    assert "mmmu_val_art" in lines
    assert "gsm8k" not in lines


def test_a_group_gives_its_tasks_and_each_has_scores_of_its_own(model, data, tmp_path):
    names = ["bbh_zeroshot_boolean_expressions", "bbh_zeroshot_navigate"]
    (tmp_path / "group.yaml").write_text(
        f"group: mine\ntask: [{names[0]}, {{task: {names[1]}, num_fewshot: 1}}]\n"
    )
    files = {"own/group.yaml": tmp_path / "group.yaml"}
    facts = fetch(tmp_path / "fetched", data=data, own=["group.yaml"], files=files)
    assert list(facts["tasks"]) == names
    found, _ = score(lm_eval_spec(limit=2), model, tmp_path / "fetched", tmp_path / "s")
    assert [task["shots"] for task in found["protocol"]["tasks"].values()] == [0, 1]
    documents = counted(tmp_path / "s" / "out", tmp_path / "counted")
    assert set(documents) == {f"b.{name}.json" for name in ("average", *names)}
    average = documents["b.average.json"]
    assert average["n"] == 4
    words = protocol_words(average["protocol"])
    assert "0- to 1-shot" in words
    assert "the first 2 questions of each task" in words


def test_a_task_of_ones_own_comes_with_includes_functions_and_rows(model, tmp_path):
    facts = fetch(tmp_path / "fetched", own=["tasks/mine.yaml"], files=own_files(tmp_path))
    assert facts["tasks"] == {"mine": ["length,none", "right,none"]}
    assert facts["datasets"] == {"json": "local"}
    shutil.rmtree(tmp_path / "own")
    (tmp_path / "rows.jsonl").unlink()
    before = sorted(path for path in (tmp_path / "fetched").rglob("*"))
    found, rows = score(lm_eval_spec(), model, tmp_path / "fetched", tmp_path / "s")
    assert sorted((tmp_path / "fetched").rglob("*")) == before, "scoring leaves no file there"
    assert found["protocol"]["tasks"]["mine"]["version"] == "7"
    assert len(rows) == 3
    for row in rows:
        values = json.loads(row["metrics"])
        assert values == {"length,none": len(row["response"]) / 100, "right,none": 0.0}
    documents = counted(tmp_path / "s" / "out", tmp_path / "first")
    assert set(documents) == {"b.average.json"}
    mean = sum(len(row["response"]) for row in rows) / 300
    assert documents["b.average.json"]["accuracy"] == pytest.approx(mean)
    other = counted(tmp_path / "s" / "out", tmp_path / "other", metric="right")
    assert other["b.average.json"]["accuracy"] == 0.0
    assert other["b.average.json"]["protocol"]["counted"] == {"mine": "right,none"}


def judge_own(tmp_path, results):
    """Judge the reply "2" to the last question of a task with this `process_results`."""
    shaping = OWN["tasks/shaping.py"].replace("def results(", "def unused(") + results
    files = own_files(tmp_path, **{"tasks/shaping.py": shaping})
    fetch(tmp_path / "fetched", own=["tasks/mine.yaml"], files=files)
    questions = lm_eval_scoring.questions(lm_eval_spec(), tmp_path / "fetched", None, 2048)
    *_, question = questions
    return question.grade(question, ["2"])


def test_a_judgement_by_the_clock_is_not_hurried_by_a_busy_machine(tmp_path, capsys):
    by_clock = """
import signal, time


def results(doc, replies):
    def give_up(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(1)
    try:
        time.sleep(1.2)  # others have the processor
        return {"right": float(replies[0] == doc["answer"])}
    except TimeoutError:
        return {"right": 0.0}
    finally:
        signal.alarm(0)
"""
    assert json.loads(judge_own(tmp_path, by_clock)["metrics"]) == {"right,none": 1.0}
    assert "gave up" not in capsys.readouterr().err


def test_a_task_that_cannot_judge_an_answer_names_the_question(tmp_path):
    fails = """

def results(doc, replies):
    return {"right": 1 / (2 - int(replies[0] or 0))}
"""
    with pytest.raises(ScoreError, match=r"judge the answer to mine:2 \(ZeroDivisionError"):
        judge_own(tmp_path, fails)


def test_what_is_wrong_with_a_task_of_ones_own_is_said(tmp_path):
    changed = {"tasks/shaping.py": "import a_package_that_nobody_has\n"}
    text = refused(tmp_path, (), own=["tasks/mine.yaml"], files=own_files(tmp_path, **changed))
    assert "mine: needs the package 'a_package_that_nobody_has'" in text


def test_a_module_that_its_package_has_no_more_is_said(tmp_path):
    """As lm-eval's coqa asks of transformers."""
    changed = {"tasks/shaping.py": "import json.encoders\n"}
    text = refused(tmp_path, (), own=["tasks/mine.yaml"], files=own_files(tmp_path, **changed))
    assert "needs the module 'json.encoders', which the installed json does not have" in text


def test_a_metric_that_lm_eval_does_not_know_is_named(tmp_path):
    changed = {"tasks/mine.yaml": f"{OWN['tasks/mine.yaml']}  - {{metric: acccc}}\n"}
    text = refused(tmp_path, (), own=["tasks/mine.yaml"], files=own_files(tmp_path, **changed))
    assert "mine: lm-eval knows no metric acccc; correct the name" in text


def test_a_group_s_task_that_is_nowhere_is_named_with_what_to_do(tmp_path):
    group = {"tasks/all.yaml": "group: all\ntask:\n- group: some\n  task: [mine, gsm8kk]\n"}
    files = own_files(tmp_path, **group)
    text = refused(tmp_path, (), own=["tasks/all.yaml", "tasks/mine.yaml"], files=files)
    assert "gsm8kk: lm-eval" in text and "did you mean gsm8k" in text
    assert "only if `path` lists its file" in text
    assert "mine:" not in text


def test_a_metric_that_no_task_gives_is_refused_before_a_model_is_asked(data, tmp_path):
    facts = fetch(tmp_path / "out", ["gsm8k"], data=data)
    for metric in ("exact_match", "exact_match,strict-match"):
        check_gate("metric", "benchmarks/x", facts, metric)
    for metric in ("acc", "exact_match,loose"):
        with pytest.raises(GateError, match=r"exact_match,strict-match, exact_match,flexible"):
            check_gate("metric", "benchmarks/x", facts, metric)


def test_programs_of_the_model_run_only_where_that_is_asked_for(tmp_path):
    changed = {"tasks/mine.yaml": OWN["tasks/mine.yaml"] + "unsafe_code: true\n"}
    files = own_files(tmp_path, **changed)
    facts = fetch(tmp_path / "fetched", own=["tasks/mine.yaml"], files=files)
    assert facts["unsafe_code"] == ["mine"]
    with pytest.raises(GateError, match=r"mine would run programs.*run_generated_code: true"):
        check_gate("unsafe_code", "benchmarks/x", facts, None)


def test_the_same_rows_give_the_same_bytes(data, tmp_path):
    for name in ("one", "other"):
        fetch(tmp_path / name, ["gsm8k", "arc_easy"], data=data)
    one, other = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")}
        for n in ("one", "other")
    )
    assert one == other


@pytest.mark.parametrize("task", ["gsm8k", "arc_easy", "winogrande", "lambada_openai"])
def test_a_prompt_that_is_too_long_is_an_error_before_the_model_is_loaded(
    task, model, data, tmp_path, monkeypatch
):
    fetch(tmp_path / "fetched", [task], data=data)
    monkeypatch.setattr(scoring, "context_limit", lambda *_: 20)
    monkeypatch.setattr(scoring, "Respondent", None)
    with pytest.raises(ScoreError, match=f"{task}:0 needs .* but the model reads 20"):
        score(lm_eval_spec(), model, tmp_path / "fetched", tmp_path / "s")


def test_more_shots_than_rows_are_an_error_before_the_model_is_loaded(
    model, data, tmp_path, monkeypatch
):
    fetch(tmp_path / "fetched", ["gsm8k"], data=data)
    monkeypatch.setattr(scoring, "Respondent", None)
    with pytest.raises(ScoreError, match="cannot build question 0 of the task gsm8k"):
        score(lm_eval_spec(shots=50), model, tmp_path / "fetched", tmp_path / "s")


def test_an_interrupted_job_goes_on_with_the_same_answers(model, data, tmp_path, monkeypatch):
    files = own_files(tmp_path)
    fetch(tmp_path / "fetched", ["truthfulqa_mc2"], data=data, own=["tasks/mine.yaml"], files=files)
    spec = lm_eval_spec()
    monkeypatch.setattr(scoring, "_BLOCK_QUESTIONS", 2)
    _, whole = score(spec, model, tmp_path / "fetched", tmp_path / "whole")
    written = []

    def write(scratch, block, answers):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(block)
        return honest(scratch, block, answers)

    honest = journal.write_block
    with monkeypatch.context() as broken:
        broken.setattr(journal, "write_block", write)
        with pytest.raises(KeyboardInterrupt):
            score(spec, model, tmp_path / "fetched", tmp_path / "cut")
    _, resumed = score(spec, model, tmp_path / "fetched", tmp_path / "cut")
    assert [row["metrics"] for row in resumed] == [row["metrics"] for row in whole]
    assert [row["response"] for row in resumed] == [row["response"] for row in whole]


def test_a_model_starts_where_the_tasks_prefix_ends(model, tmp_path):
    """With a chat template the assistant's turn has begun, as lm-eval's `hf` model has it."""
    changed = {"tasks/mine.yaml": OWN["tasks/mine.yaml"] + 'gen_prefix: "It is"\n'}
    files = own_files(tmp_path, **changed)
    fetch(tmp_path / "fetched", own=["tasks/mine.yaml"], files=files)
    tokenizer = AutoTokenizer.from_pretrained(model)
    spec = lm_eval_spec(chat_template=True)
    (question, *_) = lm_eval_scoring.questions(spec, tmp_path / "fetched", tokenizer, 2048)
    assert question.requests[0].args[0] == (
        "<|im_start|>user\nSay: 0<|im_end|>\n<|im_start|>assistant\nIt is"
    )


def test_a_pin_of_a_repository_that_no_task_reads_is_said(data, tmp_path):
    text = refused(tmp_path, ["gsm8k"], data=data, revisions={"openai/gsm9k": "c" * 40})
    assert "openai/gsm9k" in text
    assert "openai/gsm8k" in text


def test_sampled_answers_are_all_kept_and_the_same_every_time(model, tmp_path):
    options = "{until: [], max_gen_toks: 8, do_sample: true, temperature: 1.0}"
    sampled = f"repeats: 2\ngeneration_kwargs: {options}\n"
    changed = {"tasks/mine.yaml": OWN["tasks/mine.yaml"] + sampled}
    files = own_files(tmp_path, **changed)
    fetch(tmp_path / "fetched", own=["tasks/mine.yaml"], files=files)
    both = [score(lm_eval_spec(), model, tmp_path / "fetched", tmp_path / n)[1] for n in "ab"]
    assert both[0] == both[1]
    for row in both[0]:
        one, other = json.loads(row["response"])
        assert one != other


ROLLING = """\
task: rolling
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{text}}"
process_results: !function rolling.results
metric_list:
  - {metric: loglikelihood, aggregation: mean, higher_is_better: true}
metadata: {version: 1}
"""


def test_texts_of_any_length_get_lm_evals_loglikelihood(model, tmp_path):
    task = tmp_path / "task"
    task.mkdir()
    rows = tmp_path / "rows.jsonl"
    texts = ["short", "a longer one, " * 300, "the answer is A"]
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (task / "rolling.yaml").write_text(ROLLING.replace("ROWS", str(rows)))
    (task / "rolling.py").write_text(
        "def results(doc, replies):\n    return {'loglikelihood': replies[0]}\n"
    )
    files = {f"own/{path.name}": path for path in sorted(task.iterdir())}
    files[f"local/{rows}"] = rows
    fetch(tmp_path / "fetched", own=["rolling.yaml"], files=files)
    _, asked = score(lm_eval_spec(), model, tmp_path / "fetched", tmp_path / "s")
    manager = TaskManager(include_defaults=False, include_path=str(task))
    lm = HFLM(pretrained=str(model), dtype="float32", batch_size=2, device="cpu")
    theirs = lm_eval.simple_evaluate(
        model=lm, tasks=["rolling"], task_manager=manager, bootstrap_iters=0
    )
    for row, sample in zip(asked, theirs["samples"]["rolling"], strict=True):
        assert row["logprobs"] == pytest.approx([sample["loglikelihood"]], abs=1e-3)
    documents = counted(tmp_path / "s" / "out", tmp_path / "counted")
    assert documents["b.average.json"]["accuracy"] == pytest.approx(
        theirs["results"]["rolling"]["loglikelihood,none"], abs=1e-3
    )
