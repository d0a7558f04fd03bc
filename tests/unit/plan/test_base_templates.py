"""A base without a chat template: told before any job, given one, and asked as with its own."""

import json
import shutil
from pathlib import Path

import pytest

from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.pins import read_lock
from scripts.lib.config.load import load_config
from scripts.lib.data.chat_template_files import has_chat_template
from scripts.lib.data.templates import CHATML, load_fast_tokenizer
from scripts.lib.errors import ConfigError
from scripts.lib.plan import prompts
from scripts.lib.plan.build_graph import build_graph
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.prompts import special_tokens
from scripts.lib.plan.remembered import CheckMemory, HashMemory
from tests.tiny_model import make_tokenizer
from tests.unit.scoring_data import write_rows

LOCK = read_lock(Path(__file__).parents[3] / "requirements.lock")

TEXT = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<|im_end|>\n{% endfor %}"

# How a folder brings a template, or does not: file -> content.
BRINGS = {
    "a file": {"chat_template.jinja": TEXT},
    "a setting": {"tokenizer_config.json": json.dumps({"chat_template": TEXT})},
    "a list with a default": {
        "tokenizer_config.json": json.dumps(
            {"chat_template": [{"name": "default", "template": TEXT}]}
        )
    },
}

LACKS = {
    "nothing": {},
    "an empty file": {"chat_template.jinja": ""},
    "settings without one": {"tokenizer_config.json": "{}"},
    "an empty setting": {"tokenizer_config.json": json.dumps({"chat_template": ""})},
    "a list without a default": {
        "tokenizer_config.json": json.dumps(
            {"chat_template": [{"name": "tool_use", "template": TEXT}]}
        )
    },
}

DOMAIN = {"kind": "held_out", "dataset": "orders"}

EXACT = {"kind": "exact_match", "path": "q.jsonl"}

PLAIN = {"kind": "exact_match", "path": "q.jsonl", "chat_template": False}

JUDGED = {"kind": "judged_pairs", "path": "q.jsonl", "judge": {"model": "base"}}

ELSEWHERE = JUDGED | {"judge": {"model": "j", "endpoint": "https://judge.example/v1"}}

RUN = {"model": "base", "dataset": "orders"}

HUB = {"hub": "acme/base", "revision": "a" * 40}


def write_folder(folder: Path, files: dict[str, str]) -> Path:
    """Write what planning looks at of a model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    for name, text in ({"model.safetensors": "w", "tokenizer.json": "{}"} | files).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def home(tmp_path):
    write_folder(tmp_path / "base", {})
    write_rows(tmp_path / "q.jsonl", [{"prompt": "one tea", "answer": "1 TEA"}])
    orders = [{"prompt": f"{n} tea", "completion": f"{n} TEA"} for n in range(60)]
    write_rows(tmp_path / "train.jsonl", orders)
    (tmp_path / "own.jinja").write_text(TEXT)
    return tmp_path


def planned(home, benchmarks, *, model=None, runs=None, others=None, checks=None, **more) -> Graph:
    config = {
        "models": {"base": model or {"path": "base"}, **(others or {})},
        "datasets": {"orders": {"path": "train.jsonl", "test_fraction": 0.1}},
        "benchmarks": benchmarks,
        "runs": runs or {},
        **more,
    }
    sources = LocalSources((home,), HashMemory(home / "memory.json"), checks)
    return build_graph(load_config(config), sources, code=lambda *_: "0", lock=LOCK)


@pytest.mark.parametrize("files", BRINGS.values(), ids=BRINGS)
def test_a_folder_that_brings_a_template_is_asked_through_it(home, files):
    shutil.rmtree(home / "base")
    assert has_chat_template(write_folder(home / "base", files))
    planned(home, {"domain": DOMAIN, "exact": EXACT}, runs={"r": RUN})


@pytest.mark.parametrize("files", LACKS.values(), ids=LACKS)
@pytest.mark.parametrize("asked", [DOMAIN, EXACT], ids=["held_out", "exact_match"])
def test_a_folder_that_brings_none_is_refused_before_any_job(home, files, asked):
    shutil.rmtree(home / "base")
    assert not has_chat_template(write_folder(home / "base", files))
    with pytest.raises(ConfigError, match=r"^models\.base\.template: .*benchmarks\.asked need one"):
        planned(home, {"asked": asked}, runs={"r": RUN | {"template": "chatml"}})


@pytest.mark.parametrize("files", [*BRINGS.values(), *LACKS.values()], ids=[*BRINGS, *LACKS])
def test_the_files_say_what_the_loaded_tokenizer_says(tmp_path, files):
    make_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    for name, text in files.items():
        settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
        whole = text if name.endswith("jinja") else json.dumps(settings | json.loads(text))
        (tmp_path / name).write_text(whole)
    from scripts.lib.data.templates import own_template

    assert has_chat_template(tmp_path) == bool(own_template(load_fast_tokenizer(tmp_path)))


@pytest.mark.parametrize(
    ("benchmarks", "runs", "keys"),
    [
        ({"e": EXACT, "d": DOMAIN}, {}, "benchmarks.e, benchmarks.d"),
        ({"p": PLAIN}, {"r": RUN}, "runs.r"),
        ({"e": EXACT}, {"r": RUN, "s": RUN | {"template": "chatml"}}, "benchmarks.e, runs.r"),
        ({"j": ELSEWHERE}, {"s": RUN | {"template": "chatml"}}, "benchmarks.j"),
        (
            {"j": JUDGED},
            {"s": RUN | {"template": "chatml"}},
            "benchmarks.j.judge, benchmarks.j",
        ),
        ({"p": PLAIN}, {}, None),
        ({"p": PLAIN}, {"s": RUN | {"template": "chatml"}}, None),
        ({"p": PLAIN, "j": ELSEWHERE}, {}, None),  # answers to be judged need a run beside them
    ],
)
def test_whoever_needs_the_template_that_is_not_there_is_named(home, benchmarks, runs, keys):
    if keys is None:
        planned(home, benchmarks, runs=runs)
        return
    with pytest.raises(ConfigError) as error:
        planned(home, benchmarks, runs=runs)
    assert str(error.value).endswith(
        f"and {keys} need one; set `template: chatml`, or the path of a .jinja file"
    )


@pytest.mark.parametrize("template", ["chatml", "own.jinja"])
def test_a_model_is_given_one_by_its_key(home, template):
    model = {"path": "base", "template": template}
    planned(home, {"d": DOMAIN, "e": EXACT, "j": JUDGED}, model=model, runs={"r": RUN})


def test_a_run_that_asks_for_the_tokenizers_own_is_refused_by_its_own_key(home):
    model = {"path": "base", "template": "chatml"}
    with pytest.raises(ConfigError, match=r"^runs\.r\.template: .* has no chat template"):
        planned(home, {"p": PLAIN}, model=model, runs={"r": RUN | {"template": "tokenizer"}})


@pytest.mark.parametrize(
    ("model", "run", "alike"),
    [
        ("chatml", "own.jinja", False),
        ("own.jinja", "chatml", False),
        ("tokenizer", "chatml", True),  # it brings ChatML itself
        ("tokenizer", "own.jinja", False),
        ("own.jinja", "spaced.jinja", True),  # other text, same prompts
        ("chatml", "failing.jinja", True),  # who knows: the job will
    ],
)
def test_a_run_that_would_be_asked_other_prompts_than_its_base_is_refused(home, model, run, alike):
    (home / "base/chat_template.jinja").write_text(CHATML)
    (home / "spaced.jinja").write_text(TEXT + "{# as own.jinja #}")
    (home / "failing.jinja").write_text("{{ raise_exception('no') }}")
    base = {"path": "base", "template": model}
    runs = {"r": RUN | {"template": run}}
    for benchmark in (PLAIN, ELSEWHERE):
        planned(home, {"b": benchmark}, model=base, runs=runs)
    for benchmark in (EXACT, DOMAIN):
        if alike:
            planned(home, {"b": benchmark}, model=base, runs=runs)
            continue
        told = rf"^runs\.r\.template: .*benchmarks\.b .*write {run} as models\.base\.template too"
        with pytest.raises(ConfigError, match=told):
            planned(home, {"b": benchmark}, model=base, runs=runs)


BEGINS = "{{ bos_token }}" + TEXT

WRITTEN = "<s>" + TEXT


@pytest.mark.parametrize(
    ("files", "own", "base", "alike"),
    [
        ({"tokenizer_config.json": {"bos_token": "<s>"}}, WRITTEN, BEGINS, True),
        ({"tokenizer_config.json": {"bos_token": {"content": "<s>"}}}, BEGINS, WRITTEN, True),
        ({"special_tokens_map.json": {"bos_token": {"content": "<s>"}}}, WRITTEN, BEGINS, True),
        ({"tokenizer_config.json": {"bos_token": "<S>"}}, WRITTEN, BEGINS, False),
        # The tokenizer's class may give one, or none.
        ({}, WRITTEN, BEGINS, True),
        ({}, TEXT + "!", BEGINS, True),
        ({"tokenizer_config.json": {"bos_token": None}}, WRITTEN, BEGINS, True),
        ({"tokenizer_config.json": {"bos_token": "<s>"}}, TEXT, BEGINS + "{{ unk_token }}", True),
        ({}, WRITTEN, TEXT, False),
    ],
)
def test_templates_are_compared_with_the_special_tokens_of_the_tokenizer(
    home, files, own, base, alike
):
    for name, content in files.items():
        (home / "base" / name).write_text(json.dumps(content))
    (home / "own.jinja").write_text(own)
    (home / "base.jinja").write_text(base)
    model = {"path": "base", "template": "base.jinja"}
    runs = {"r": RUN | {"template": "own.jinja"}}
    if alike:
        planned(home, {"e": EXACT}, model=model, runs=runs)
    else:
        with pytest.raises(ConfigError, match=r"^runs\.r\.template: is not that of its base"):
            planned(home, {"e": EXACT}, model=model, runs=runs)


def test_a_special_token_that_is_not_here_yet_leaves_templates_alone(home):
    (home / "own.jinja").write_text(WRITTEN)
    (home / "base.jinja").write_text(BEGINS)
    runs = {"r": RUN | {"template": "own.jinja"}}
    planned(home, {"e": EXACT}, model=HUB | {"template": "base.jinja"}, runs=runs)


@pytest.mark.parametrize(
    ("settings", "older"),
    [
        ({"bos_token": "<s>", "eos_token": {"__type": "AddedToken", "content": "</s>"}}, None),
        ({"bos_token": "<s>", "add_bos_token": True, "image_token": "<i>"}, {"bos_token": "<b>"}),
        ({"bos_token": "<s>", "added_tokens_decoder": {}}, {"bos_token": "<b>", "eos_token": "e"}),
        ({"extra_special_tokens": {"thought": "<t>"}}, {"pad_token": {"content": "<pad>"}}),
        ({"bos_token": None, "extra_special_tokens": ["<x>"]}, None),
    ],
)
def test_the_special_tokens_of_the_files_are_those_of_the_loaded_tokenizer(
    tmp_path, settings, older
):
    make_tokenizer().save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    plain = {"tokenizer_class": json.loads(file.read_text())["tokenizer_class"]}
    file.write_text(json.dumps(plain | settings))
    if older is not None:
        (tmp_path / "special_tokens_map.json").write_text(json.dumps(older))
    assert special_tokens(tmp_path) == load_fast_tokenizer(tmp_path).special_tokens_map


def test_only_templates_that_may_agree_are_remembered(home, monkeypatch):
    (home / "base/chat_template.jinja").write_text(CHATML)
    (home / "spaced.jinja").write_text(CHATML + "{# the same #}")
    compared = []
    honest = prompts._may_agree

    def counted(*args):
        compared.append(args)
        return honest(*args)

    monkeypatch.setattr(prompts, "_may_agree", counted)
    checks = CheckMemory()
    for _ in range(2):
        planned(home, {"e": EXACT}, runs={"r": RUN | {"template": "spaced.jinja"}}, checks=checks)
    assert len(compared) == 1
    for _ in range(2):
        with pytest.raises(ConfigError, match="is not that of its base"):
            planned(home, {"e": EXACT}, runs={"r": RUN | {"template": "own.jinja"}}, checks=checks)
    assert len(compared) == 3, "an error comes until it is corrected"
    (home / "base/tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    runs = {"r": RUN | {"template": "spaced.jinja"}}
    planned(home, {"e": EXACT}, runs=runs, checks=checks)
    assert len(compared) == 4, "other special tokens are another question"
    monkeypatch.setattr(LocalSources, "package_version", lambda *_: "9.9")
    planned(home, {"e": EXACT}, runs=runs, checks=checks)
    assert len(compared) == 5, "so is another version of what renders"


def test_what_comes_with_files_that_are_not_here_yet_is_not_judged(home):
    planned(home, {"d": DOMAIN}, model=HUB, runs={"r": RUN | {"template": "chatml"}})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{% for m in messages %}", r"own\.jinja:1 is no chat template"),
        (b"{{ messages[0].content }", r"own\.jinja:1 is no chat template"),
        (b"\xff\xfe{", r"own\.jinja cannot be read as a chat template"),
        (None, r"own\.jinja cannot be read as a chat template"),
    ],
)
def test_a_file_that_is_no_template_is_refused(home, content, words):
    place = home / "own.jinja"
    place.unlink()
    place.mkdir() if content is None else place.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^models\.base: .*{words}"):
        planned(home, {"p": PLAIN}, model={"path": "base", "template": "own.jinja"})


def test_a_template_may_mark_its_answers_and_leave_loops(home):
    text = "{% for m in messages %}{% break %}{% endfor %}{% generation %}a{% endgeneration %}"
    (home / "own.jinja").write_text(text)
    planned(home, {"p": PLAIN}, model={"path": "base", "template": "own.jinja"})


def test_a_template_that_is_not_there_is_told_once(home):
    model = {"path": "base", "template": "gone.jinja"}
    with pytest.raises(ConfigError, match=r"models\.base: 'gone.jinja' does not exist") as error:
        planned(home, {"d": DOMAIN}, model=model, runs={"r": RUN})
    assert "\n" not in str(error.value)


CUSTOM = {"name": "custom", "text": TEXT}


@pytest.mark.parametrize(
    ("model", "run", "trained"),
    [
        ("tokenizer", None, "tokenizer"),
        ("tokenizer", "chatml", "chatml"),
        ("chatml", None, "chatml"),
        ("chatml", "tokenizer", "tokenizer"),
        ("chatml", "own.jinja", CUSTOM),
        ("own.jinja", None, CUSTOM),
        ("own.jinja", "chatml", "chatml"),
    ],
)
def test_a_runs_template_wins_over_its_models_and_that_over_the_tokenizers(
    home, model, run, trained
):
    (home / "base/chat_template.jinja").write_text(CHATML)
    entry = RUN if run is None else RUN | {"template": run}
    graph = planned(
        home, {"e": ELSEWHERE}, model={"path": "base", "template": model}, runs={"r": entry}
    )
    (shards,) = (a for a in graph.artifacts.values() if a.stage == "shards")
    assert shards.spec["template"] == trained
    base, tuned = (graph.artifacts[c.scores["e"][0]].spec.get("template") for c in graph.candidates)
    asked = {"tokenizer": None, "chatml": "chatml", "own.jinja": CUSTOM}
    assert (base, tuned) == (asked[model], None)  # what was tuned carries its own


def test_only_what_goes_through_the_template_knows_of_it(home):
    (home / "base/chat_template.jinja").write_text(CHATML)
    benchmarks = {"e": EXACT, "p": PLAIN, "d": DOMAIN, "j": JUDGED}
    own = planned(home, benchmarks, runs={"r": RUN | {"template": "chatml"}})
    given = planned(
        home,
        benchmarks,
        model={"path": "base", "template": "chatml"},
        runs={"r": RUN | {"template": "chatml"}},
    )
    (base, *_), (other, *_) = own.candidates, given.candidates
    changed = {name for name in benchmarks if base.scores[name] != other.scores[name]}
    assert changed == {"e", "d", "j"}
    same = {id for id in own.artifacts if id.startswith(("models/", "shards/", "adapters/"))}
    assert same == {id for id in same if id in given.artifacts} != set()
