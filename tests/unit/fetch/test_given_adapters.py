"""An adapter that exists already, in the form in which this project's own adapters lie."""

import json
import shutil
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.lib.errors import ConfigError
from scripts.lib.fetch import adapters
from scripts.lib.fetch.adapters import NEUTRAL, fetch_adapter
from scripts.lib.files import sha256_of
from tests.tiny_model import CHATML, make_tiny_model

OWN = CHATML.replace("<|im_end|>", "<|im_end|> ")
ANSWERED = "<|im_start|>user\n" + NEUTRAL[0][0]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("fetch") / "base")


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "adapter"
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM", r=2)
    get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.fixture
def given(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "given")


def fetch(given: Path, base: Path, out: Path, **spec):
    out.mkdir()
    names = sorted(file.name for file in given.iterdir() if file.name != "README.md")
    files = {name: sha256_of(given / name) for name in names}
    asked = {"template": None, "base_template": "tokenizer"} | spec
    mapping = {"source": "path", "files": files} | asked
    return fetch_adapter(mapping, [given / name for name in names], base, out)["adapter"]


def template_of(out: Path) -> str:
    return AutoTokenizer.from_pretrained(out).chat_template


def test_without_a_tokenizer_it_has_its_bases_and_is_asked_as_that_is(given, base, tmp_path):
    facts = fetch(given, base, tmp_path / "out")
    assert (facts["tokenizer"], facts["template"]) == ("base", "base")
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert template_of(tmp_path / "out") == CHATML
    custom = fetch(given, base, tmp_path / "custom", base_template={"name": "custom", "text": OWN})
    assert (custom["template"], template_of(tmp_path / "custom")) == ("base", OWN)


@pytest.mark.parametrize("alone", [True, False])
def test_a_template_of_its_own_wins_over_its_bases_and_the_configurations_over_both(
    given, base, tmp_path, alone
):
    if not alone:
        AutoTokenizer.from_pretrained(base).save_pretrained(given)
    (given / "chat_template.jinja").write_text(OWN)
    facts = fetch(given, base, tmp_path / "out", base_template="chatml")
    assert (facts["template"], template_of(tmp_path / "out")) == ("adapter", OWN)
    assert facts["tokenizer"] == ("base" if alone else "adapter")
    named = fetch(given, base, tmp_path / "named", template="chatml", base_template=None)
    assert named["template"] == "config"
    assert template_of(tmp_path / "named") != OWN


def test_prompts_are_answered_questions_through_the_template_for_the_proof(given, base, tmp_path):
    out = tmp_path / "out"
    fetch(given, base, out)
    prompts = json.loads((out / "prompts.json").read_text())
    first = AutoTokenizer.from_pretrained(out).decode(prompts[0])
    assert len(prompts) == len(NEUTRAL)
    assert first.startswith(ANSWERED)
    assert NEUTRAL[0][1] in first


def test_an_adapter_that_changes_nothing_is_told(given, base, tmp_path):
    facts = fetch(given, base, tmp_path / "out")
    assert facts["zero_updates"] == facts["updates"] == 2


def test_the_path_of_a_base_on_another_machine_is_left_out_and_a_repository_is_kept(
    given, base, tmp_path
):
    assert fetch(given, base, tmp_path / "path")["names_base"] is None
    file = given / "adapter_config.json"
    config = json.loads(file.read_text()) | {"base_model_name_or_path": "acme/base"}
    file.write_text(json.dumps(config))
    assert fetch(given, base, tmp_path / "named")["names_base"] == "acme/base"


def test_an_option_that_the_installed_peft_would_leave_out_is_refused(given, base, tmp_path):
    file = given / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_wora": True}))
    with pytest.raises(ConfigError, match="uses use_wora, which the installed PEFT"):
        fetch(given, base, tmp_path / "out")


def test_what_comes_from_a_hub_is_refused_in_the_words_of_planning(
    given, base, tmp_path, monkeypatch
):
    def download(hub: str, revision: str, out: Path) -> None:
        shutil.copytree(given, out, dirs_exist_ok=True)

    monkeypatch.setattr(adapters, "_download", download)
    spec = {"source": "hub", "hub": "acme/adapter", "revision": "a" * 40}
    asked = {"template": None, "base_template": "tokenizer"}
    (tmp_path / "good").mkdir()
    fetch_adapter(spec | asked, [], base, tmp_path / "good")
    weights = given / "adapter_model.safetensors"

    save_file(
        {name.replace("layers", "blocks"): one for name, one in load_file(weights).items()}, weights
    )
    (tmp_path / "bad").mkdir()
    with pytest.raises(ConfigError, match="none of the 2 layers that acme/adapter changes is in"):
        fetch_adapter(spec | asked, [], base, tmp_path / "bad")
