"""A build of PyTorch is held against the NVIDIA driver, without loading either."""

import shutil
import subprocess
import sys

import pytest
import torch

from scripts.lib.machine import cuda_driver
from scripts.lib.machine.cuda_driver import Build, misfit, read_build, shows_gpus

CPU = Build("2.15.0+cpu", None)
CU126 = Build("2.15.0+cu126", (12, 6))
CU132 = Build("2.15.0+cu132", (13, 2))


def test_the_installed_build_is_read_without_importing_it():
    program = (
        "import sys; from scripts.lib.machine.cuda_driver import installed_build as f; b = f();"
        " print(b.version, b.cuda, 'torch' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    cuda = tuple(map(int, torch.version.cuda.split("."))) if torch.version.cuda else None
    assert said == f"{torch.__version__} {cuda} False\n"


@pytest.mark.parametrize(
    ("cuda", "build"),
    [
        ("cuda: Optional[str] = '13.2'", CU132),
        ("cuda = '13.2'", CU132),
        ("cuda: Optional[str] = None", Build("2.15.0+cu132", None)),
    ],
)
def test_a_build_is_read_as_pytorch_writes_it(cuda, build):
    text = f"__all__ = ['__version__', 'cuda']\n__version__ = '2.15.0+cu132'\n{cuda}\nhip = None\n"
    assert read_build(text) == build


def test_a_file_that_names_no_build_is_an_error_not_a_build_for_the_cpu():
    with pytest.raises(ValueError, match="no CUDA"):
        read_build("__version__ = '2.15.0'\n")


@pytest.mark.parametrize(
    ("build", "driver"),
    [(CU132, (13, 0)), (CU132, (13, 5)), (CU132, (14, 0)), (CU126, (12, 2)), (CU126, (13, 0))],
)
def test_a_driver_of_the_same_major_version_or_a_newer_one_will_do(build, driver):
    assert misfit(build, driver) is None


@pytest.mark.parametrize(
    ("build", "driver", "words"),
    [
        (CU132, (12, 8), ["2.15.0+cu132", "CUDA 13.2", "580", "CUDA 12.8", "make env BUILD=cu126"]),
        (CU132, (11, 4), ["CUDA 11.4", "have the driver updated"]),
        (CU126, (11, 8), ["CUDA 12.6", "525", "CUDA 11.8", "have the driver updated"]),
        (CPU, (12, 4), ["2.15.0+cpu", "without CUDA", "make env BUILD=cu126"]),
        (CPU, (13, 1), ["without CUDA", "make env BUILD=lock"]),
        (CU132, None, ["2.15.0+cu132", "no NVIDIA driver"]),
    ],
)
def test_a_misfit_names_the_build_the_driver_and_the_remedy(build, driver, words):
    said = misfit(build, driver)
    assert [word for word in words if word not in said] == []


def test_the_driver_is_asked_for_its_cuda(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler to make a driver")
    source, library = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
    for answer, found in ((12040, (12, 4)), (13020, (13, 2))):
        source.write_text(f"int cuDriverGetVersion(int *v) {{ *v = {answer}; return 0; }}\n")
        library = tmp_path / f"libcuda.so.{answer}"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
        assert cuda_driver.driver_cuda(str(library)) == found
    assert cuda_driver.driver_cuda(str(tmp_path / "none.so")) is None


@pytest.mark.parametrize(
    ("files", "named", "shown"),
    [
        ([], None, False),
        (["nvidiactl", "nvidia-uvm"], None, False),
        (["nvidia0", "nvidiactl"], None, True),
        (["nvidia3"], "3", True),
        (["nvidia0"], "", False),
        (["nvidia0"], "-1", False),
    ],
)
def test_a_gpu_is_shown_by_its_device_file_unless_it_is_hidden(tmp_path, files, named, shown):
    for name in files:
        (tmp_path / name).touch()
    environ = {} if named is None else {"CUDA_VISIBLE_DEVICES": named}
    assert shows_gpus(environ, tmp_path) == shown


@pytest.fixture
def old_machine(monkeypatch):
    monkeypatch.setattr(cuda_driver, "shows_gpus", lambda environ: True)
    monkeypatch.setattr(cuda_driver, "driver_cuda", lambda: (12, 4))
    monkeypatch.setattr(cuda_driver, "installed_build", lambda: CU132)


def test_gpus_that_would_be_left_unused_are_said(old_machine):
    assert "there is a GPU" in cuda_driver.refusal({})
    assert "TUNESMITH_DEVICE=cpu" in cuda_driver.refusal({})


def test_who_asked_for_the_cpu_is_not_bothered(old_machine):
    assert cuda_driver.refusal({"TUNESMITH_DEVICE": "cpu"}) is None


def test_without_a_gpu_nothing_is_said(old_machine, monkeypatch):
    monkeypatch.setattr(cuda_driver, "shows_gpus", lambda environ: False)
    assert cuda_driver.refusal({}) is None
