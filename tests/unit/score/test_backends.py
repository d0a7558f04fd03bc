"""Which of lm-eval's models answers."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import lm_eval.models
import pytest
from lm_eval.models.huggingface import HFLM

from scripts.lib.errors import ConfigError, ScoreError
from scripts.lib.plan.invocation import plan_invocation
from scripts.lib.plan.local_files import LocalSources
from scripts.lib.plan.missing import read_frozen
from scripts.lib.plan.remembered import HashMemory
from scripts.lib.questions.prompts import load_tokenizer
from scripts.lib.score.respondent import Loading, check_backend, load_backend
from tests.tiny_model import make_tiny_model
from tests.unit.scoring_data import rows, score, spec, write_rows
from tests.workspace import ROOT


@pytest.fixture
def benchmark(tmp_path):
    for subject in ("anatomy", "virology"):
        write_rows(tmp_path / "mmlu/test" / f"{subject}.jsonl", rows(subject, 6))
        write_rows(tmp_path / "mmlu/dev" / f"{subject}.jsonl", rows(subject, 5, salt="Example "))
    return tmp_path / "mmlu"


def loading(model, **changes):
    plain = {
        "model": model,
        "adapter": None,
        "tokenizer": load_tokenizer(model, chat_template=False),
        "dtype": "float32",
        "batch_size": 2,
        "ends": (),
        "context": 128,
    }
    return Loading(**plain | changes)


def vllm_options():
    """Return the names of the options that lm-eval's vLLM model takes, from its source."""
    source = Path(lm_eval.models.__file__).with_name("vllm_causallms.py").read_text()
    (model,) = (n for n in ast.parse(source).body if getattr(n, "name", "") == "VLLM")
    start = next(n for n in model.body if getattr(n, "name", "") == "__init__")
    return [argument.arg for argument in start.args.args]


def install_vllm(folder, monkeypatch, version):
    """Put the metadata of an installed package on the path; there is no code to run."""
    info = folder / "packages" / f"vllm-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(info.parent)])


def test_lm_evals_own_model_and_ours_answer_alike_and_say_who_they_are(benchmark, tmp_path):
    model = make_tiny_model(tmp_path / "tiny")
    tables = []
    for backend in ("shared-prefix", "hf"):
        asked = spec(subject="anatomy", backend=backend)
        facts, table = score(asked, model, benchmark, tmp_path / backend)
        tables.append(table)
        assert facts["protocol"]["backend"] == backend
    ours, theirs = ([(a["prediction"], a["prompt_hash"]) for a in table] for table in tables)
    assert ours == theirs


def test_vllm_is_refused_where_it_is_not_installed(tmp_path):
    with pytest.raises(ConfigError, match="'vllm' is not installed"):
        LocalSources([tmp_path], HashMemory(tmp_path / "memory")).package_version("vllm")
    with pytest.raises(ScoreError, match=r"planned for vllm 1\.2\.3, but its environment has none"):
        check_backend("vllm==1.2.3")


def test_the_version_of_vllm_is_read_while_planning_and_held_to_in_the_job(tmp_path, monkeypatch):
    install_vllm(tmp_path, monkeypatch, "1.2.3")
    sources = LocalSources([tmp_path], HashMemory(tmp_path / "memory"))
    assert sources.package_version("vllm") == "1.2.3"
    check_backend("vllm==1.2.3")
    with pytest.raises(ScoreError, match=r"planned for vllm 1.3.0, but its environment has 1.2.3"):
        check_backend("vllm==1.3.0")


def test_another_version_of_vllm_is_another_score(benchmark, tmp_path, monkeypatch):
    make_tiny_model(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNESMITH_CACHE", "")
    asked = {"kind": "mmlu", "path": "mmlu", "backend": "vllm"}
    config = {"models": {"tiny": {"path": "tiny"}}, "benchmarks": {"mmlu": asked}}
    with pytest.raises(ConfigError, match=r"benchmarks\.mmlu: the package 'vllm' is not installed"):
        plan_invocation(config, ROOT)
    planned = []
    for version in ("1.2.3", "1.3.0"):
        with monkeypatch.context() as patch:
            install_vllm(tmp_path, patch, version)
            plan = read_frozen(plan_invocation(config, ROOT).file)
        planned.append({id for id in plan["artifacts"] if id.startswith("scores/")})
    assert not planned[0] & planned[1]


def test_a_back_end_is_the_model_of_its_name(tmp_path):
    loaded = loading(make_tiny_model(tmp_path / "tiny"))
    theirs, ours = (load_backend(name, loaded) for name in ("hf", "shared-prefix"))
    assert type(ours).__name__ == "SharedPrefixLM"
    # lm-eval's own computes; only the batches are cut here.
    assert isinstance(theirs, HFLM) and not isinstance(theirs, type(ours))
    assert type(theirs)._model_call is HFLM._model_call
    assert type(theirs)._model_generate is HFLM._model_generate


def test_vllm_is_given_what_lm_evals_model_takes(tmp_path, monkeypatch):
    """Without a GPU this is as far as it goes: lm-eval's module cannot even be imported."""
    given = {}
    stand_in = SimpleNamespace(VLLM=lambda **options: given.update(options))
    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", stand_in)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    load_backend("vllm==1.2.3", loading(make_tiny_model(tmp_path / "tiny"), dtype="bfloat16"))
    assert given.keys() <= set(vllm_options())
    assert (given["dtype"], given["tensor_parallel_size"]) == ("bfloat16", 2)
    assert given["max_model_len"] == 128
