"""What is told of fine-tunes before they are queued, held against what then happens."""

import json
import struct
from contextlib import chdir
from pathlib import Path

import pytest
import yaml
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts import train_adapter
from scripts.lib.artifacts.graph import Graph
from scripts.lib.artifacts.pins import read_lock
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.config.lora import Lora
from scripts.lib.config.training import Training
from scripts.lib.jobs import gpu_fit, remarks
from scripts.lib.jobs.forecast import (
    forecast,
    memory_of,
    packed_sequences,
    trainings,
)
from scripts.lib.jobs.gpu_memory import asked_gpu, gpu_of
from scripts.lib.plan.invocation import graph_of, open_store, plan_invocation, read_configs
from scripts.lib.plan.missing import Plan, make_plan
from scripts.lib.train.lora_size import lora_parameters
from scripts.lib.train.memory import DEVICE_BYTES, training_bytes
from scripts.lib.train.micro_batch import Passes
from scripts.lib.train.model_size import size_of
from scripts.lib.train.shards import pack
from scripts.tools.forecast import main, site_gpu
from tests.programs import make, make_all
from tests.workspace import ROOT, make_workspace, read_config, snakemake, write_config

SHARDS = tuple(STAGES)[: tuple(STAGES).index("shards") + 1]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A workspace whose shards are rendered, with runs that pack, do not, and were trained."""
    folder = make_workspace(tmp_path_factory.mktemp("forecast"))
    config = read_config(folder)
    packed = config["runs"]["low"]
    packed["training"] |= {"epochs": 1.5, "max_length_tokens": 64, "batch_size": 4}
    config["runs"] = {
        "packed": packed,
        "apart": packed | {"training": packed["training"] | {"packing": False}},
        "short": packed | {"training": packed["training"] | {"max_steps": 3}},
    }
    write_config(folder, config)
    make_all(folder, SHARDS)
    return folder


def planned(folder: Path) -> tuple[Plan, object]:
    with chdir(folder):
        store = open_store()
        return make_plan(graph_of(read_configs({}, [], ROOT), ROOT), store), store


def told(folder: Path, **resources) -> dict:
    """Return run -> forecast."""
    with chdir(folder):
        plan, store = planned(folder)
        wanted = trainings(plan)
        return {
            name: forecast(plan, store, id, names, {"gpu": 1, **resources})
            for id, names in wanted.items()
            for name in names
        }


def test_what_is_told_is_what_training_then_does_and_its_time_is_told_the_next(workspace):
    before = told(workspace)
    assert {*before} == {"packed", "apart", "short"}
    assert all(one.hours == {} for one in before.values())
    with chdir(workspace):
        plan = plan_invocation(read_configs({}, [], ROOT), ROOT)
        (folders, wanted) = make(plan.file, "adapters", train_adapter), trainings(plan.plan)
        made = [json.loads(Path(f"{folder}.json").read_text()) for folder in folders]
    for manifest in made:
        (name,) = wanted[manifest["id"]]
        one, facts = before[name], manifest["facts"]
        assert one.steps == facts["steps"]
        assert one.amount.sequences == facts["train_sequences"]
        assert one.amount.tokens == facts["train_tokens"]
        assert one.amount.trained_tokens == facts["trained_tokens"]
        assert one.memory.need.gradients == 4 * facts["trainable_parameters"]
    config = read_config(workspace)
    first = next(iter(config["runs"].values()))
    config["runs"] = {"next": first | {"lora": {"r": 8, "alpha": 8}}}
    write_config(workspace, config)
    after = told(workspace)["next"]
    ((device, hours),) = after.hours.items()
    assert device == made[0]["execution"]["device"] and hours > 0
    assert told(workspace, gpu=2)["next"].hours == {}, "of two processes nothing is recorded"
    assert told(workspace, gpu_model="a100")["next"].hours == {}, "nor of that GPU"


def test_a_run_whose_shards_do_not_exist_is_unknown(workspace, tmp_path, capsys):
    folder = make_workspace(tmp_path / "new")
    one = told(folder)["low"]
    assert (one.amount, one.steps, one.hours) == (None, None, {})
    assert one.memory, "the base lies there, so its size is known"
    with chdir(folder):
        assert remarks.to_train(planned(folder)[0]) == []
        main([])
    assert "unknown" in capsys.readouterr().out


def test_the_command_tells_every_run_on_a_line(workspace, capsys):
    with chdir(workspace):
        main(["--gpu", "t4"])
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    for run in read_config(workspace)["runs"]:
        assert "GiB (micro batch" in lines[run] and "passes)" in lines[run]


def test_a_dry_run_says_in_one_line_what_is_to_be_trained(workspace):
    result = snakemake(workspace, "-n", "--quiet", "rules")
    assert result.returncode == 0, result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("note: ")]
    assert "1 to train on shards that are there" in line


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@settings(max_examples=25, deadline=None)
@given(LENGTHS, st.integers(40, 64))
def test_packed_sequences_are_as_many_as_trl_makes(lengths, size):
    rows = Dataset.from_dict({"input_ids": [[1] * length for length in lengths]})
    assert packed_sequences(lengths, size) == len(pack(rows, size))


def test_more_rows_than_are_packed_together_are_counted_as_trl_does():
    lengths = [1 + number * 7 % 50 for number in range(2345)]
    rows = Dataset.from_dict({"input_ids": [[1] * length for length in lengths]})
    assert packed_sequences(lengths, 64) == len(pack(rows, 64))


@pytest.mark.parametrize(
    ("name", "model", "gib", "sure"),
    [
        ("a100", "a100", 80, False),
        ("nvidia_a100-sxm4-80gb", "a100", 80, True),
        ("NVIDIA A100-PCIE-40GB", "a100", 40, True),
        ("a100_40", "a100", 40, True),
        ("a100_1g.10gb", "a100", 10, True),
        ("NVIDIA H100 80GB HBM3", "h100", 80, True),
        ("tesla_v100-pcie-16gb", "v100", 16, True),
        ("rtx_3090", "3090", 24, True),
        ("NVIDIA GeForce RTX 2080 Ti", "2080ti", 11, True),
        ("quadro_rtx_6000", "rtx6000", 96, False),
        ("NVIDIA RTX A6000", "a6000", 48, True),
        ("Tesla T4", "t4", 16, True),
    ],
)
def test_a_gpu_is_known_by_the_names_that_sites_and_drivers_give_it(name, model, gib, sure):
    found = gpu_of(name)
    assert (found.model, found.gib, found.sure) == (model, gib, sure)


@pytest.mark.parametrize("name", ["", "gpu", "fast", "nvlink", "AMD EPYC 7763 64-Core Processor"])
def test_a_name_of_no_known_gpu_tells_nothing(name):
    assert gpu_of(name) is None


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"gpu_model": "l4"}, "l4"),
        ({"gpu_model": "l4", "constraint": "h100"}, "l4"),
        ({"constraint": "nvlink&a100"}, "a100"),
        ({"constraint": "[v100|h100]"}, "h100"),
        ({"gres": "gpu:a40:2"}, "a40"),
        ({"slurm_extra": "'--gres=gpu:a30:1 --signal=TERM@120'"}, "a30"),
        ({"slurm_extra": "'--signal=TERM@120'", "mem_mb": 32000}, None),
        ({}, None),
    ],
)
def test_the_gpu_that_a_job_asks_for_is_read_wherever_slurm_reads_it(resources, told):
    found = asked_gpu(resources)
    assert (found and found.model) == told


def test_the_site_file_of_the_profile_names_the_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_SITE", str(tmp_path / "site.yaml"))
    (tmp_path / "site.yaml").write_text(yaml.safe_dump({"gpu_model": "a100", "partition": "gpu"}))
    assert site_gpu(tmp_path) == {"gpu_model": "a100"}


def write_header(folder: Path, *, layers: int, hidden: int, inner: int, vocabulary: int) -> Path:
    """Write a model's config and the header of its weights, which are not there."""
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    shapes["lm_head.weight"] = (vocabulary, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"}
        shapes |= {f"{at}.mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (hidden, inner)
        shapes[f"{at}.input_layernorm.weight"] = (hidden,)
    header = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in shapes.items()
    }
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    config = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": vocabulary}))
    return folder


LORA = Lora().model_dump(mode="json")
LOOP = Training().model_dump(mode="json")
SHAPE = {"layers": 32, "hidden": 4096, "inner": 11008, "vocabulary": 32000}
BILLIONS = 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 4096) + 2 * 32000 * 4096


def large_plan(folder: Path, **spec) -> tuple[Plan, str]:
    """Return a plan to train on a model of 6.7 billion parameters."""
    model = write_header(folder / "model", **SHAPE)
    graph = Graph(lambda rule, kinds: "code", read_lock(ROOT / "requirements.lock"))
    base = graph.add("models", "base", {}, sources=[str(path) for path in sorted(model.iterdir())])
    shards = graph.add("shards", "shards", {}, reads={"model": base})
    spec = {"lora": LORA, "training": LOOP, "quantization": None} | spec
    id = graph.add("adapters", "adapter", spec, reads={"model": base, "shards": shards})
    return Plan(graph, (base, shards, id)), id


@pytest.mark.parametrize(
    ("gpu", "spec", "remedies"),
    [
        ("a100", {}, None),
        ("t4", {}, None),
        ("2080ti", {}, ["quantization: nf4"]),
        ("2080ti", {"quantization": "nf4"}, None),
        ("l4", {"training": LOOP | {"dtype": "float32"}}, ["nf4", "dtype: bfloat16"]),
        ("2080ti", {"training": LOOP | {"dtype": "float32"}}, ["nf4"]),
        ("a100", {"lora": None}, ["Train an adapter"]),
        ("b200", {"lora": None}, None),
        ("of-tomorrow", {"lora": None}, None),
    ],
)
def test_a_run_that_no_gpu_of_the_name_can_hold_is_told_what_to_change(
    tmp_path, gpu, spec, remedies
):
    plan, id = large_plan(tmp_path, **spec)
    said = gpu_fit.too_large(plan, {id: {"gpu": 1, "gpu_model": gpu}})
    if remedies is None:
        assert said == []
        return
    (line,) = said
    assert gpu in line and "GiB" in line
    assert all(remedy in line for remedy in remedies)
    others = {"quantization: nf4", "dtype: bfloat16", "Train an adapter"}
    for other in others - {one for one in others if any(remedy in one for remedy in remedies)}:
        assert other not in line, "it would not suffice"
    for none in (0, "0"):
        assert gpu_fit.too_large(plan, {id: {"gpu": none, "gpu_model": gpu}}) == [], "no GPU"


def test_several_gpus_share_out_what_does_not_fit_one(tmp_path):
    """A job does so by itself, so that it need not be asked to."""
    plan, id = large_plan(tmp_path, lora=None)
    cards = {"gpu_model": "a100"}
    (line,) = gpu_fit.too_large(plan, {id: {"gpu": 1, **cards}})
    assert "sk for several GPUs, which share it out (gpu=N)" in line
    assert gpu_fit.too_large(plan, {id: {"gpu": 2, **cards}}) == []
    assert gpu_fit.too_large(plan, {id: {"gpu": 2, "fsdp": 1, **cards}}) == []
    small = {id: {"gpu": 2, "gpu_model": "2080ti"}}
    assert "ask for more GPUs" in gpu_fit.too_large(plan, small)[0]
    long = LOOP | {"max_length_tokens": 65536}
    (tmp_path / "nf4").mkdir()
    plan, id = large_plan(tmp_path / "nf4", training=long, quantization="nf4")
    (line,) = gpu_fit.tight(plan, {id: {"gpu": 2, "gpu_model": "2080ti"}})
    assert "share it out" not in line, "a quantised base cannot be"


def test_a_run_whose_longest_sequence_hardly_fits_is_told_so_and_not_refused(tmp_path):
    plan, id = large_plan(tmp_path, training=LOOP | {"max_length_tokens": 16384})
    wanted = {id: {"gpu": 1, "gpu_model": "t4"}}
    assert gpu_fit.too_large(plan, wanted) == []
    (line,) = gpu_fit.tight(plan, wanted)
    assert "max_length_tokens" in line
    assert gpu_fit.tight(plan, {id: {"gpu": 1, "gpu_model": "h100"}}) == []


def test_a_thousand_runs_that_do_not_fit_are_told_in_a_few_lines(tmp_path):
    plan, id = large_plan(tmp_path)
    one = plan.graph.artifacts[id]
    ids = [
        plan.graph.add(
            "adapters", "adapter", {**one.spec, "training": LOOP | {"seed": seed}}, reads=one.reads
        )
        for seed in range(20)
    ]
    plan = Plan(plan.graph, tuple(ids))
    said = gpu_fit.too_large(plan, {one: {"gpu": 1, "gpu_model": "2080ti"} for one in ids})
    assert len(said) == gpu_fit.SHOWN + 1 and "10 more runs" in said[-1]


def test_a_workflow_with_a_run_that_cannot_fit_ends_before_any_job(tmp_path):
    folder = make_workspace(tmp_path / "home")
    huge = write_header(tmp_path / "huge", layers=80, hidden=8192, inner=28672, vocabulary=128256)
    (huge / "model.safetensors").rename(folder / "model" / "huge.safetensors")
    result = snakemake(folder, "-c1", "--set-resources", "train_adapter:gpu_model=t4")
    assert result.returncode
    assert "do not fit the GPU that the job asks for, t4 (16 GiB)" in result.stdout
    assert not (folder / "results" / "models").exists()


def test_memory_is_that_of_the_formula_over_what_the_files_hold(tmp_path):
    plan, id = large_plan(tmp_path)
    planned = memory_of(plan, id, {"gpu": 1, "micro_batch": 2})
    trained = 32 * 16 * (4 * 2 * 4096 + 3 * (4096 + 11008))
    formula = training_bytes(trainable=trained, frozen=BILLIONS, dtype="bfloat16")
    assert planned.need.fixed == formula.fixed
    assert planned.passes == Passes(sequences=2, recomputed=1), "no card is known"
    one = memory_of(plan, id, {"gpu": 1, "micro_batch": 1})
    assert planned.need.activations == pytest.approx(2 * one.need.activations)
    assert planned.least == one.need.total + DEVICE_BYTES


def test_the_way_through_a_step_is_told_as_the_card_will_have_it(tmp_path):
    """By the estimate and the choice that the training itself makes on that card."""
    plan, id = large_plan(tmp_path)
    ways = {gpu: memory_of(plan, id, {"gpu": 1, "gpu_model": gpu}) for gpu in ("a10", "a100")}
    assert [way.passes.recomputed for way in ways.values()] == [1, 0]
    assert ways["a100"].need.total + DEVICE_BYTES <= 0.75 * 80 * 2**30
    kept = memory_of(plan, id, {"gpu": 1, "gpu_model": "a100", "micro_batch": 16})
    assert kept.passes.sequences == 16 and kept.passes.recomputed > 0


def test_only_what_an_adapter_is_put_on_counts_as_trained(tmp_path):
    model = write_header(tmp_path / "model", layers=2, hidden=8, inner=16, vocabulary=32)
    size = size_of(tuple(str(path) for path in sorted(model.iterdir())))
    assert size.parameters == 2 * (4 * 64 + 3 * 128 + 8) + 2 * 256
    assert lora_parameters(LORA | {"target_modules": ["q_proj"]}, size) == 2 * 16 * 16
    dora = LORA | {"target_modules": ["down_proj"], "use_dora": True}
    assert lora_parameters(dora, size) == 2 * (16 * 24 + 8)
    ranks = LORA | {"target_modules": r".*\.q_proj", "rank_pattern": {r"1\..*q_proj": 4}}
    assert lora_parameters(ranks, size) == (16 + 4) * 16
    whole = LORA | {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
    assert lora_parameters(whole, size) == 2 * 16 * 16 + 32 * 8


@pytest.mark.parametrize("damage", [b"", b"1234567", struct.pack("<Q", 10**6) + b"{}"])
def test_files_that_tell_nothing_leave_memory_unknown(tmp_path, damage):
    model = write_header(tmp_path / "model", layers=1, hidden=8, inner=16, vocabulary=32)
    (model / "model.safetensors").write_bytes(damage)
    assert size_of(tuple(str(path) for path in sorted(model.iterdir()))) is None
