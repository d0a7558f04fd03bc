"""Which device models compute on, and what a Slurm job must see."""

import pytest
import torch

from scripts.lib.errors import DeviceError
from scripts.lib.machine import cuda_driver, device
from scripts.lib.machine.cuda_driver import Build


@pytest.fixture
def gpus(monkeypatch):
    """Return a function that makes PyTorch see so many GPUs, in and out of a Slurm job.

    With a driver there are device files of GPUs, too.
    """

    def see(count: int, driver: tuple[int, int] | None = None, **environ: str) -> None:
        monkeypatch.setattr(cuda_driver, "shows_gpus", lambda environ: driver is not None)
        monkeypatch.setattr(cuda_driver, "driver_cuda", lambda: driver)
        monkeypatch.setattr(cuda_driver, "installed_build", lambda: Build("2.0+cu132", (13, 2)))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        for name in ("SLURM_JOB_ID", device.DEVICE_VARIABLE, *device.VISIBLE_VARIABLES):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)

    return see


def test_a_gpu_is_taken_where_there_is_one(gpus):
    gpus(1)
    assert device.compute_device() == "cuda"
    gpus(0)
    assert device.compute_device() == "cpu"


def test_the_environment_can_keep_models_on_the_cpu(gpus):
    gpus(1, TUNESMITH_DEVICE="cpu")
    assert device.compute_device() == "cpu"


@pytest.mark.parametrize(("count", "named"), [(0, "cuda"), (1, "gpu0")])
def test_a_device_that_is_not_there_is_refused(gpus, count, named):
    gpus(count, TUNESMITH_DEVICE=named)
    with pytest.raises(DeviceError, match=named):
        device.compute_device()


def test_a_gpu_that_pytorch_cannot_use_is_no_reason_to_train_on_the_cpu(gpus):
    gpus(0, driver=(12, 4))
    with pytest.raises(DeviceError, match=r"2\.0\+cu132.*580.*CUDA 12\.4.*BUILD=cu126.*DEVICE=cpu"):
        device.compute_device()
    gpus(0, driver=(13, 0))
    with pytest.raises(DeviceError, match=r"its build fits the driver.*torch\.cuda\.init"):
        device.compute_device()
    gpus(0, driver=(12, 4), TUNESMITH_DEVICE="cpu")
    assert device.compute_device() == "cpu"


@pytest.mark.parametrize("driver", [None, (12, 4)], ids=["no device file", "an old driver"])
def test_a_slurm_job_whose_gpu_cannot_be_used_says_why(gpus, driver):
    gpus(0, driver=driver, SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="0")
    why = r"no NVIDIA driver" if driver is None else r"CUDA 12\.4: .*BUILD=cu126"
    with pytest.raises(DeviceError, match=rf"{why}.*TUNESMITH_DEVICE=cpu"):
        device.check_gpus(1)


def test_outside_slurm_any_number_of_gpus_will_do(gpus):
    for count in (0, 1, 8):
        gpus(count)
        device.check_gpus(1)


def test_a_slurm_job_with_the_gpus_that_it_asked_for_goes_on(gpus):
    gpus(2, SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="0,3")
    device.check_gpus(2)
    gpus(1, SLURM_JOB_ID="7", ROCR_VISIBLE_DEVICES="1")
    device.check_gpus(1)


@pytest.mark.parametrize(
    ("visible", "seen", "message"),
    [
        ("", 0, "0 are visible"),
        ("0,1,2,3", 4, "4 are visible"),
        ("0", 0, "PyTorch can use none"),
        ("0", 2, "PyTorch sees 2"),
    ],
)
def test_a_slurm_job_with_other_gpus_than_asked_for_is_refused(gpus, visible, seen, message):
    gpus(seen, SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES=visible)
    with pytest.raises(DeviceError, match=message):
        device.check_gpus(1)


def test_pretended_gpus_will_do_for_a_job_that_is_told_to_use_the_cpu(gpus):
    gpus(0, SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="0", TUNESMITH_DEVICE="cpu")
    device.check_gpus(1)


def test_a_slurm_job_that_asked_for_no_gpu_is_shown_none(gpus, monkeypatch):
    gpus(4, SLURM_JOB_ID="7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    device.check_gpus(0)
    assert device.visible_gpus(device.os.environ) == 0
