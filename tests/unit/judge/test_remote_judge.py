"""A judge behind a service: what it is asked, what it costs, and that its key stays secret."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from scripts import ask_judge
from scripts.lib.benchmarks.judged_pairs.scores import sum_up_judgements
from scripts.lib.errors import ScoreError
from scripts.lib.judge.files import load_pairs, write_judgements
from scripts.lib.judge.remote import RemoteJudgeSpec, judge_facts, judge_remotely
from scripts.lib.judge.service import ChatService
from tests.chat_server import longer, service
from tests.unit.judged_data import (
    make_judged_world,
    pairs,
    write_answers,
    write_prompts,
)
from tests.workspace import ROOT

KEY = "sk-Zq7-very-secret-0123456789"
VARIABLE = "JUDGE_KEY"
NOW = {"Retry-After": "0"}
PROMPTS = 24

# The run answers longer on the first half of the prompts, as long on every sixth, else shorter.
HALF = pairs(
    PROMPTS,
    lambda n: f"answer {n} ..",
    lambda n: f"answer {n}" + ("!!!" if n % 6 == 5 else "and so on" if n < PROMPTS // 2 else ""),
)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def judge():
    with service(longer) as server:
        yield server


def spec(judge, **changes):
    return RemoteJudgeSpec(**{"criteria": None, "endpoint": judge.url, "model": "m", **changes})


def ask(judge, folder, asked=HALF, *, variable=VARIABLE):
    client = ChatService(judge.url, "m", variable)
    return judge_remotely(spec(judge), asked, client, folder / "scratch")


def summed(judge, folder, asked=HALF):
    """Return the figures of a judge's replies, by way of all files."""
    replies = ask(judge, folder, asked)
    base = write_answers(folder / "base", [pair.base for pair in asked])
    run = write_answers(folder / "run", [pair.run for pair in asked])
    loaded = load_pairs(base, run, write_prompts(folder / "prompts", len(asked)))
    assert loaded == asked
    out, figures = folder / "judgements", folder / "figures"
    out.mkdir()
    figures.mkdir()
    write_judgements(loaded, replies, {"kind": "endpoint"}, base, run, out)
    return sum_up_judgements("pairs", out, figures)


def texts_under(folder: Path) -> bytes:
    return b"".join(place.read_bytes() for place in folder.rglob("*") if place.is_file())


def test_a_judge_that_prefers_the_longer_answer_finds_who_is_longer(judge, tmp_path):
    found = summed(judge, tmp_path)
    wins = sum(len(pair.run) > len(pair.base) for pair in HALF)
    losses = sum(len(pair.run) < len(pair.base) for pair in HALF)
    assert (found["wins"], found["losses"], found["ties"]) == (
        wins,
        losses,
        PROMPTS - wins - losses,
    )
    assert wins and losses and wins + losses < PROMPTS
    assert found["first_place"]["rate"] == 0.5
    assert found["consistency"]["rate"] == 1.0
    assert len(judge.asked) == 2 * PROMPTS


def test_a_judge_that_always_says_a_has_a_position_bias_and_makes_only_ties(judge, tmp_path):
    judge.rule = lambda prompt: "A"
    found = summed(judge, tmp_path)
    assert (found["wins"], found["losses"], found["ties"]) == (0, 0, PROMPTS)
    assert found["first_place"]["rate"] == 1.0
    assert found["consistency"]["rate"] == 0.0


def test_replies_that_hold_no_verdict_are_counted_and_their_prompts_are_ties(judge, tmp_path):
    judge.rule = lambda prompt: "Both are fine." if "Question 3?" in prompt else longer(prompt)
    found = summed(judge, tmp_path)
    assert (found["unreadable"], found["readings"]) == (2, 2 * PROMPTS)
    assert found["wins"] + found["losses"] + found["ties"] == found["n"] == PROMPTS


def test_half_an_emoji_in_a_reply_is_no_end_of_the_job(judge, tmp_path):
    judge.rule = lambda prompt: "\ud83d\n" + longer(prompt)
    assert summed(judge, tmp_path)["unreadable"] == 0


def test_what_is_asked_is_greedy_and_goes_to_the_chosen_model(judge, tmp_path):
    ask(judge, tmp_path, HALF[:1])
    for body in judge.asked:
        assert (body["model"], body["temperature"]) == ("m", 0)
        assert "Question 0?" in body["messages"][0]["content"]
    assert set(judge.paths) == {"/v1/chat/completions"}


def test_equal_answers_are_a_tie_that_costs_nothing(judge, tmp_path):
    alike = pairs(4, lambda n: f"the same {n}\n", lambda n: f" the same {n}")
    found = summed(judge, tmp_path, alike)
    assert (found["ties"], found["equal"], found["readings"]) == (4, 4, 0)
    assert judge.headers == []


@pytest.mark.parametrize(
    "reaction",
    [
        (429, NOW, '{"error": {"message": "slow down"}}'),
        (500, NOW, "oops"),
        (503, NOW, ""),
        (200, {}, "no JSON"),
        (200, {}, '{"choices": []}'),
        (200, {}, '{"choices": [{"message": {"content": {"no": "text"}}}]}'),
    ],
    ids=["too many", "error", "busy", "garbage", "nothing chosen", "no text"],
)
def test_what_may_be_over_at_the_next_try_is_tried_again(judge, tmp_path, reaction, monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    judge.first = [reaction] * 3
    replies = ask(judge, tmp_path, HALF[:2])
    assert len(replies) == 2 and len(judge.headers) == 4 + 3


def test_a_service_may_say_how_long_to_wait(judge, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    judge.first = [(429, {"Retry-After": "7"}, "")]
    ask(judge, tmp_path, HALF[:1])
    assert waits == [7.0]


def test_a_service_that_stays_away_is_said_and_what_was_judged_is_kept(judge, tmp_path):
    ask(judge, tmp_path, HALF[:3])
    judge.refuses = lambda body: (502, NOW, f"bad gateway, {KEY}")
    with pytest.raises(
        ScoreError, match=r"no reply in 8 tries: status 502: bad gateway.*kept"
    ) as e:
        ask(judge, tmp_path, HALF[:5])
    assert KEY not in str(e.value)
    judge.refuses = lambda body: None
    before = len(judge.asked)
    ask(judge, tmp_path, HALF[:5])
    assert len(judge.asked) - before == 4, "the two new pairs only"


def test_what_is_no_completion_is_shown(judge, tmp_path, monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    judge.refuses = lambda body: (200, {}, f"<html>Log in, {KEY}")
    with pytest.raises(ScoreError, match=r"no chat completion: <html>Log in, \[key\]"):
        ask(judge, tmp_path, HALF[:1])


def test_a_service_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    with service(longer) as gone:
        pass
    with pytest.raises(ScoreError, match="no connection"):
        ask(gone, tmp_path, HALF[:1])


def test_a_wrong_key_names_its_variable_and_is_not_shown(judge, tmp_path, capfd):
    judge.key = "another"
    with pytest.raises(ScoreError, match=rf"status 401.*{VARIABLE}") as error:
        ask(judge, tmp_path)
    assert KEY not in str(error.value)
    assert KEY not in "".join(capfd.readouterr())
    assert len(judge.headers) <= 4, "it is not tried again, and the rest is not asked"


def test_a_missing_key_is_said_before_anything_is_asked(judge, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ScoreError, match=f"{VARIABLE}.*is not set"):
        ask(judge, tmp_path)
    monkeypatch.setenv(VARIABLE, f"{KEY} \u00e9")
    with pytest.raises(ScoreError, match=f"{VARIABLE} holds is no key") as error:
        ask(judge, tmp_path)
    assert KEY not in str(error.value)
    assert judge.headers == []


def test_an_unknown_model_is_named(judge, tmp_path):
    judge.refuses = lambda body: (404, {}, '{"error": {"message": "no such model"}}')
    with pytest.raises(ScoreError, match=r"knows no model 'm'.*no such model"):
        ask(judge, tmp_path)


def refusing(*names):
    """Return the reaction of a model that takes no parameter of these names."""

    def picky(body):
        for name in names:
            if name in body:
                return 400, {}, f'{{"error": {{"param": "{name}", "message": "unsupported"}}}}'
        return None

    return picky


def test_a_parameter_that_a_model_refuses_is_left_out_and_counted(judge, tmp_path):
    judge.refuses = refusing("temperature", "max_tokens")
    replies = ask(judge, tmp_path)
    assert all(set(body) == {"model", "messages"} for body in judge.asked)
    facts = judge_facts(spec(judge), replies)
    assert facts["parameters"] == {"temperature": 0, "max_tokens": 2048}
    assert facts["refused"] == {"max_tokens": 2 * PROMPTS, "temperature": 2 * PROMPTS}


def test_what_was_refused_is_known_after_a_restart_that_asks_nobody(judge, tmp_path):
    assert judge_facts(spec(judge), ask(judge, tmp_path, HALF[:2]))["refused"] == {}
    judge.refuses = refusing("temperature")
    ask(judge, tmp_path, HALF[:5])
    requests = len(judge.headers)
    again = ask(judge, tmp_path, HALF[:5])
    assert len(judge.headers) == requests
    assert judge_facts(spec(judge), again)["refused"] == {"temperature": 6}


def test_another_refusal_is_shown_in_the_service_s_words(judge, tmp_path):
    judge.refuses = lambda body: (400, {}, '{"error": {"message": "too long", "param": null}}')
    with pytest.raises(ScoreError, match=r"refuses a request \(status 400\): too long"):
        ask(judge, tmp_path, HALF[:1])


def test_a_redirect_carries_the_key_nowhere(judge, tmp_path):
    with service(longer) as elsewhere:
        judge.refuses = lambda body: (307, {"Location": f"{elsewhere.url}/chat/completions"}, "")
        with pytest.raises(ScoreError, match="status 307"):
            ask(judge, tmp_path, HALF[:1])
        assert elsewhere.headers == []


def test_only_the_named_key_is_sent(judge, tmp_path, monkeypatch):
    """A file of passwords for the same machine is nobody's business."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ask(judge, tmp_path / "one", HALF[:1])
    ask(judge, tmp_path / "two", HALF[:1], variable=None)
    assert [headers.get("Authorization") for headers in judge.headers] == [
        *[f"Bearer {KEY}"] * 2,
        *[None] * 2,
    ]


def test_a_line_of_the_journal_that_was_cut_short_is_asked_again(judge, tmp_path):
    whole = ask(judge, tmp_path, HALF[:4])
    journal = tmp_path / "scratch" / "replies.jsonl"
    journal.write_text(journal.read_text()[:-5])
    before = len(judge.asked)
    assert ask(judge, tmp_path, HALF[:4]) == whole
    assert len(judge.asked) - before == 1
    assert ask(judge, tmp_path, HALF[:4]) == whole
    assert len(judge.asked) - before == 1


@pytest.fixture
def world(judge, tmp_path):
    said = {"base": [pair.base for pair in HALF], "run": [pair.run for pair in HALF]}
    named = {"model": "m", "endpoint": judge.url, "api_key_env": VARIABLE}
    return make_judged_world(tmp_path / "world", named, said)


def test_a_killed_judge_goes_on_without_asking_twice_and_leaves_no_key(world, judge):
    judge.key = KEY
    judge.refuses = refusing("temperature")
    judge.rule = lambda prompt: f"My key is {KEY}.\n\n{longer(prompt)}"
    invocation = world.invoke()
    world.run(invocation, stages=("models", "raw", "benchmarks", "chat", "shards", "adapters"))
    world.run(invocation, stages=("merged", "proofs", "scores"))
    command = world.command(invocation, "remote_judgements")
    gate = threading.Event()
    judge.delay = lambda: time.sleep(0.01) if len(judge.asked) <= 20 else gate.wait(30)
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.ask_judge", *command],
        cwd=world.home,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while process.poll() is None and len(judge.asked) <= 20:
        time.sleep(0.01)
    time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    output, _ = process.communicate()
    gate.set()
    first = judge.prompts
    with world.inside():
        ask_judge.main(command)
    again = [prompt for prompt in judge.prompts[len(first) :] if prompt in first]
    assert len(set(judge.prompts)) == 2 * PROMPTS
    assert len(again) <= 4, "what was under way when it was killed, and nothing more"
    world.run(invocation, stages=("categories",))
    (protocol,) = world.results.glob("remote_judgements/*/protocol.json")
    assert json.loads(protocol.read_text())["judge"]["refused"] == {"temperature": 2 * PROMPTS}
    assert KEY.encode() not in texts_under(world.base) + output
    assert b"[key]" in texts_under(world.results)
