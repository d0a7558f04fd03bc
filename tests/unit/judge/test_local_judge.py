"""A local model as judge, and the answers that it judges."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts import judge_pairs
from scripts.lib.benchmarks.judged_pairs.scores import sum_up_judgements
from scripts.lib.errors import ScoreError
from scripts.lib.judge.files import load_pairs
from scripts.lib.judge.local import JudgeSpec, judge_locally
from scripts.lib.judge.prompt import judge_prompts
from scripts.lib.score.respondent import Respondent
from tests.tiny_model import make_tiny_model
from tests.unit.judged_data import make_judged_world, pairs, write_answers, write_prompts
from tests.unit.scoring_data import score, spec, write_rows

SPEC = JudgeSpec(criteria=None, dtype="float32")
ASKED = pairs(5, lambda n: f"first {n}", lambda n: f"second {n} and more")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model whose verdicts depend on what it reads."""
    folder = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    weights = load_file(folder / "model.safetensors")
    louder = {n: w * (50 if "layers" in n and w.ndim == 2 else 1) for n, w in weights.items()}
    save_file(louder, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def judge(model, folder, asked=ASKED, judge_spec=SPEC):
    return judge_locally(judge_spec, asked, model, batch_size=4, scratch=folder / "scratch")


def test_the_verdict_is_the_likeliest_letter_after_the_prompt_in_the_chat_template(model, tmp_path):
    replies = judge(model, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model)
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "ABC"]
    for pair in ASKED:
        for text, reply in zip(judge_prompts(pair, None), replies[pair.id], strict=True):
            turn = [{"role": "user", "content": text}]
            prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            tokens = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
            with torch.inference_mode():
                logprobs = plain(tokens).logits[0, -1].log_softmax(-1)[letters]
            # lm-eval counts the template's last line end to each of the three.
            weighed = torch.tensor(reply.logprobs).log_softmax(-1)
            assert weighed.tolist() == pytest.approx(logprobs.log_softmax(-1).tolist(), abs=1e-4)
            assert reply.text == "ABC"[int(logprobs.argmax())]


def test_the_judge_is_told_what_to_look_at(model, tmp_path):
    told = judge(model, tmp_path, judge_spec=JudgeSpec(criteria="Spelling.", dtype="float32"))
    plain = judge(model, tmp_path / "other")
    assert told["prompts:0"][0].logprobs != plain["prompts:0"][0].logprobs


def test_a_judge_that_starts_again_asks_the_rest_only(model, tmp_path, monkeypatch):
    asked = pairs(40, lambda n: f"first {n}", lambda n: f"second {n}")
    honest, blocks = Respondent.answer, []

    def counted(self, block):
        blocks.append(len(block))
        if len(blocks) == 2:
            raise KeyboardInterrupt
        return honest(self, block)

    monkeypatch.setattr(Respondent, "answer", counted)
    with pytest.raises(KeyboardInterrupt):
        judge(model, tmp_path, asked)
    again = judge(model, tmp_path, asked)
    assert blocks == [64, 16, 16]
    assert again == judge(model, tmp_path / "unbroken", asked)


def test_equal_answers_need_no_model(tmp_path):
    alike = pairs(3, lambda n: "yes", lambda n: "yes ")
    assert judge(tmp_path / "nowhere", tmp_path, alike) == {}


def test_a_pair_that_the_judge_cannot_read_is_named_before_it_is_loaded(model, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    long = pairs(2, lambda n: "word " * (n * 2000), lambda n: "short")
    with pytest.raises(ScoreError, match=r"reads 2048 tokens, but prompts:1 .*needs \d+"):
        judge(bare, tmp_path, long)


def test_a_judge_without_a_chat_template_is_refused(model, tmp_path):
    mute = shutil.copytree(model, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(ScoreError, match=r"no chat template.*judge\.model"):
        judge(mute, tmp_path)


def test_answers_under_another_protocol_are_no_pairs(tmp_path):
    base = write_answers(tmp_path / "base", ["a", "b"])
    run = write_answers(tmp_path / "run", ["a", "c"])
    prompts = write_prompts(tmp_path / "prompts", 2)
    assert [pair.run for pair in load_pairs(base, run, prompts)] == ["a", "c"]
    protocol = json.loads((run / "protocol.json").read_text())
    (run / "protocol.json").write_text(json.dumps(protocol | {"max_new_tokens": 1}))
    with pytest.raises(ScoreError, match="no pairs"):
        load_pairs(base, run, prompts)
    with pytest.raises(ScoreError, match="no pairs"):
        load_pairs(base, write_answers(tmp_path / "fewer", ["a"]), prompts)


def test_a_judge_reads_answers_without_the_thoughts_before_them(tmp_path):
    base = write_answers(tmp_path / "base", ["<think>Yes? No.</think>\n\nno", "<think>Yes"])
    run = write_answers(tmp_path / "run", ["no", "yes"])
    first, second = load_pairs(base, run, write_prompts(tmp_path / "prompts", 2))
    assert (first.base, first.equal) == ("no", True)
    assert second.base == "", "it never came to an answer"


ROWS = [
    {"prompt": "Say A", "reference": "A", "category": "letters"},
    {"prompt": "Say B", "system": "Be terse."},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}
    | {"category": "talk"},
]
ROWS[2]["messages"].append({"role": "user", "content": "Say C"})


def answers_spec(**changes):
    values = {"kind": "judged_pairs", "subject": None, "shots": 0, "chat_template": True}
    return spec(**{**values, "max_new_tokens": 6, **changes})


def test_answers_are_kept_by_prompt_and_a_limit_takes_the_first(model, tmp_path):
    prompts = tmp_path / "prompts"
    write_rows(prompts / "questions.jsonl", ROWS)
    facts, said = score(answers_spec(), model, prompts, tmp_path / "all")
    assert [row["question_id"] for row in said] == ["prompts:0", "prompts:1", "prompts:2"]
    assert all(isinstance(row["response"], str) for row in said)
    assert facts["n"] == 3
    _, first = score(answers_spec(limit=2), model, prompts, tmp_path / "two")
    assert first == said[:2]
    (pair, *_) = load_pairs(tmp_path / "two" / "out", tmp_path / "two" / "out", prompts)
    assert (pair.request, pair.reference, pair.category) == ("Say A", "A", "letters")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"answer": "A"}, "needs either `prompt` or `messages`"),
        ({"prompt": " "}, "no text in `prompt`"),
        ({"prompt": "Say A", "reference": 7}, "something else than text in `reference`"),
        ({"prompt": "Say A", "category": ["x"]}, "something else than text in `category`"),
    ],
)
def test_a_row_that_is_no_prompt_is_named_with_its_line(model, tmp_path, row, complaint):
    write_rows(tmp_path / "questions.jsonl", [ROWS[0], row])
    with pytest.raises(ScoreError, match=rf"questions\.jsonl:2 .*{complaint}"):
        score(answers_spec(), model, tmp_path, tmp_path / "out")


def test_the_program_judges_and_its_figures_count_every_prompt(model, tmp_path):
    said = {"base": [p.base for p in ASKED], "run": [*[p.run for p in ASKED[:-1]], ASKED[-1].base]}
    world = make_judged_world(tmp_path / "world", {"model": "tiny"}, said)
    shutil.rmtree(world.home / "data/tiny")
    shutil.copytree(model, world.home / "data/tiny")
    invocation = world.invoke()
    world.run(invocation, stages=("models", "raw", "benchmarks", "chat", "shards", "adapters"))
    world.run(invocation, stages=("merged", "proofs", "scores"))
    command = world.command(invocation, "judgements")
    with world.inside():
        judge_pairs.main(command)
    (folder,) = (world.results / "judgements").glob("[!.]*/")
    (tmp_path / "figures").mkdir()
    found = sum_up_judgements("pairs", folder, tmp_path / "figures")
    assert (found["n"], found["equal"], found["readings"], found["unreadable"]) == (5, 1, 8, 0)
    assert found["wins"] + found["losses"] + found["ties"] == 5
    lines = (tmp_path / "figures" / "pairs.judged.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["equal"] for row in rows] == [False] * 4 + [True]
    replies = judge(model, tmp_path, ASKED[:-1])
    for row in rows[:-1]:
        both = (row["base_first"]["verdict"], row["run_first"]["verdict"])
        assert both == tuple(reply.text for reply in replies[row["prompt_id"]])
