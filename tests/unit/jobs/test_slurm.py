"""What the doctor makes of a site's Slurm."""

import re
from pathlib import Path

import pytest
import yaml

from scripts.lib.errors import ConfigError
from scripts.lib.jobs.slurm import (
    Site,
    check_account,
    check_gpu_node,
    check_gpus,
    check_job_age,
    check_limits,
    check_partitions,
    find_site,
    gpus_of,
    propose,
    read_gpus,
    read_minutes,
    read_partitions,
    read_site,
)
from scripts.lib.machine import cuda_driver
from scripts.lib.machine.cuda_driver import Build
from scripts.tools import doctor
from tests.workspace import ROOT

SINFO = """\
cpu*|1-00:00:00|64000+|32|(null)|up
cpu*|1-00:00:00|128000|64|(null)|up
gpu|12:00:00|256000|64|gpu:a100:4(S:0-1)|up
old|infinite|32000|16|gpu:2|up
broken|infinite|32000|16|gpu:2|down
"""
PARTITIONS = read_partitions(SINFO)


def test_partitions_are_read_with_their_largest_nodes():
    cpu, gpu, old = PARTITIONS
    assert (cpu.name, cpu.default, cpu.minutes, cpu.memory_mb, cpu.cpus) == (
        "cpu", True, 1440, 128000, 64
    )  # fmt: skip
    assert (gpu.default, gpu.gpus, gpu.minutes) == (False, {"a100": 4}, 720)
    assert (old.minutes, old.gpus) == (None, {"": 2})


@pytest.mark.parametrize(
    ("limit", "minutes"), [("30:00", 30), ("2-12:30:00", 3630), ("1:00:00", 60), ("infinite", None)]
)
def test_time_limits_are_read_in_all_their_forms(limit, minutes):
    assert read_minutes(limit) == minutes


def test_gpus_of_several_types_are_read():
    assert read_gpus("gpu:a100:4(S:0-1),gpu:v100:2,lustre:1") == {"a100": 4, "v100": 2}
    assert read_gpus("(null)") == {}


def test_a_partition_that_is_not_there_is_named_with_those_that_are():
    (finding,) = check_partitions(Site(partition="big"), PARTITIONS)
    assert finding.state == "error" and "cpu, gpu, old" in finding.text


def test_without_a_default_partition_one_must_be_written():
    (finding,) = check_partitions(Site(), PARTITIONS[1:])
    assert finding.state == "error" and "write partition" in finding.text


def test_a_partition_without_gpus_is_no_place_for_training():
    assert "gpu, old" in check_gpus(Site(), PARTITIONS).text
    assert check_gpus(Site(gpu_partition="gpu"), PARTITIONS).state == "ok"


def test_a_gpu_type_that_the_partition_lacks_is_refused():
    finding = check_gpus(Site(gpu_partition="gpu", gpu_model="h100"), PARTITIONS)
    assert finding.state == "error" and "a100" in finding.text


def test_a_cluster_without_gpus_is_told_how_to_do_without():
    assert "gpu=0" in check_gpus(Site(), PARTITIONS[:1]).text


def test_requests_beyond_the_partition_are_found_before_they_pend_for_ever():
    site = Site(gpu_partition="gpu")

    def told(adapter_mb, model_mb, minutes):
        memory = {"train_adapter": adapter_mb, "train_model": model_mb}
        return check_limits(site, PARTITIONS, memory_mb=memory, minutes=minutes)

    assert told(1000, 1000, 60).state == "ok"
    assert "mem_mb" in told(300_000, 300_000, 60).text
    assert "runtime=720" in told(1000, 1000, 721).text
    for lacking in (told(10**9, 10**9, 1), told(1000, 1000, 721)):
        both = "train_adapter:" in lacking.text and "train_model:" in lacking.text
        assert both, "both rules train"
    larger = told(1000, 300_000, 60)
    assert larger.state == "warning" and "train_model asks for 300000" in larger.text
    assert "train_adapter" not in larger.text, "what fits is left as it is"


def test_somebody_elses_account_is_refused_and_several_are_asked_about():
    assert check_account(Site(account="theirs"), ["mine"]).state == "error"
    assert check_account(Site(), ["mine", "ours"]).state == "warning"
    assert check_account(Site(account="ours"), ["mine", "ours"]).state == "ok"


def test_jobs_forgotten_too_early_are_noticed():
    assert check_job_age("MinJobAge = 300 sec", 20).state == "ok"
    assert "poll_seconds: 10" in check_job_age("MinJobAge = 30 sec", 20).text


def test_the_proposal_fills_in_what_can_be_known_and_keeps_what_was_said():
    site = propose(Site(account="ours"), PARTITIONS, ["mine", "ours"])
    assert (site.partition, site.gpu_partition, site.account) == (None, "gpu", "ours")


def test_the_profile_and_the_doctor_know_the_same_keys():
    profile = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
    (listed,) = re.findall(r"keys = \[(.*)\]", profile)
    assert re.findall(r'"(\w+)"', listed) == list(Site.model_fields)
    page = (ROOT / "docs" / "slurm.md").read_text()
    example = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    assert list(example) == list(Site.model_fields)
    assert Site(**example)


def test_the_doctor_measures_with_what_training_asks_for_first():
    profile = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
    rule = (ROOT / "rules" / "train.smk").read_text()
    assert list(doctor.TRAINING_MB) == re.findall(r"rule (train_\w+):", rule)
    for name, asked in doctor.TRAINING_MB.items():
        assert f"{name}:\n    mem_mb: min({asked} *" in profile
    minutes = re.findall(r"runtime=.*attempt: (\d+) \* attempt", rule)
    assert minutes == [str(doctor.TRAINING_MINUTES)] * len(doctor.TRAINING_MB)


def test_who_has_no_gpus_is_told_every_rule_that_asks_for_one():
    texts = {path: path.read_text() for path in (ROOT / "rules").glob("*.smk")}
    asking = {
        block.partition(":")[0]
        for text in texts.values()
        for block in re.split(r"(?m)^rule ", text)[1:]
        if re.search(r"(?m)^ +gpu=1,", block)
    }
    assert asking >= {"train_adapter", "score_benchmark"}
    rules = ("train_adapter", "train_model", "score_benchmark", "judge_pairs")
    told = " ".join(f"{rule}:gpu=0" for rule in rules)
    assert set(re.findall(r"(\w+):gpu=0", told)) == asking
    assert told in check_gpus(Site(), PARTITIONS[:1]).text
    for place in ("docs/slurm.md", "scripts/lib/machine/device.py"):
        assert told in (ROOT / place).read_text(), place


def test_a_wrong_key_is_named_with_those_that_are_known(tmp_path: Path):
    path = tmp_path / "site.yaml"
    path.write_text("partitions: gpu\n")
    with pytest.raises(ConfigError, match=r"(?s)partitions.*Known keys: partition, gpu_partition"):
        read_site(path)


def test_the_file_that_the_environment_names_comes_first(tmp_path: Path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "site.yaml").write_text("partition: a\n")
    (tmp_path / "own.yaml").write_text("partition: b\n")
    assert read_site(find_site({}, tmp_path)).partition == "a"
    named = {"TUNESMITH_SITE": str(tmp_path / "own.yaml")}
    assert read_site(find_site(named, tmp_path)).partition == "b"


def test_a_site_without_accounting_is_examined_all_the_same(tmp_path: Path, monkeypatch):
    """Its machines may lack sacctmgr altogether."""
    for name in doctor.COMMANDS:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    sinfo = tmp_path / "sinfo"
    sinfo.write_text(f"#!/bin/sh\necho '{SINFO.splitlines()[0]}'\n")
    monkeypatch.setenv("PATH", str(tmp_path))

    findings, _ = doctor.examine(Site(), submit=False)
    assert [f.state for f in findings if f.what == "account"] == ["ok"]


BUILD = Build("2.15.0+cu132", (13, 2))


@pytest.mark.parametrize(
    ("driver", "usable", "state", "words"),
    [
        ([13, 0], True, "ok", ["2.15.0+cu132", "n7", "CUDA 13.0"]),
        (None, True, "ok", ["n7"]),
        ([12, 4], False, "error", ["n7", "580", "CUDA 12.4", "make env BUILD=cu126"]),
        (None, False, "error", ["n7", "no NVIDIA driver"]),
        ([13, 0], False, "error", ["n7", "torch.cuda.init"]),
    ],
)
def test_a_gpu_node_whose_driver_does_not_fit_is_found_before_a_job_waits(
    driver, usable, state, words
):
    finding = check_gpu_node({"host": "n7", "driver": driver, "usable": usable}, BUILD)
    assert finding.state == state
    assert [word for word in words if word not in finding.text] == []


def test_a_node_is_asked_where_jobs_with_a_gpu_go():
    assert gpus_of(Site(gpu_partition="old"), PARTITIONS) == {"": 2}
    assert gpus_of(Site(partition="gpu"), PARTITIONS) == {"a100": 4}
    assert gpus_of(Site(), PARTITIONS) == {}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch):
    """A Slurm that runs what srun is given here, with a GPU, and writes down what it was asked."""
    outputs = {"sinfo": SINFO, "scontrol": "MinJobAge = 300 sec\n"}
    for name in doctor.COMMANDS:
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'END'\n{outputs.get(name, '')}END\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "srun").write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n'
        'while [ "${1#*/python}" = "$1" ]; do shift; done\nexec "$@"\n'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_doctor_asks_a_node_with_a_gpu(slurm: Path, monkeypatch):
    """This machine stands in for the node: what it lacks is found."""
    monkeypatch.setattr(cuda_driver, "installed_build", lambda: BUILD)
    site = Site(gpu_partition="gpu", gpu_model="a100", account="mine", constraint="nvlink")
    findings, _ = doctor.examine(site, submit=True)
    found = {finding.what: finding for finding in findings}
    assert "2.15.0+cu132 for CUDA 13.2, which needs driver 580" in found["PyTorch"].text
    usable = doctor.look_at_gpu()["usable"]
    assert found["GPU driver"].state == ("ok" if usable else "error")
    first, second = (slurm / "asked").read_text().splitlines()
    assert "gres" not in first
    for option in (
        "--partition gpu", "--gres=gpu:a100:1", "--account mine", "--constraint=nvlink"
    ):  # fmt: skip
        assert option in second


def test_a_site_that_keeps_models_off_its_gpus_is_asked_for_none(slurm: Path):
    findings, _ = doctor.examine(Site(gpu_partition="gpu", device="cpu"), submit=True)
    assert "GPU driver" not in {finding.what for finding in findings}
    assert "gres" not in (slurm / "asked").read_text()
