"""Where a model computes: the GPUs that this job was given, else the CPU."""

import os
from collections.abc import Mapping

import torch

from scripts.lib.errors import DeviceError
from scripts.lib.machine import cuda_driver
from scripts.lib.machine.cuda_driver import DEVICE_VARIABLE

NO_GPUS = "train_adapter:gpu=0 train_model:gpu=0 score_benchmark:gpu=0 judge_pairs:gpu=0"
"""What to add to --set-resources on a cluster without GPUs: every rule that asks for one."""

VISIBLE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def compute_device() -> str:
    """Return "cuda" (ROCm's GPUs too) or "cpu".

    Raises:
        DeviceError: when TUNESMITH_DEVICE names anything else, or a GPU that is not there, and when
            a GPU is shown that this build of PyTorch cannot use.
    """
    named = os.environ.get(DEVICE_VARIABLE, "")
    if named not in ("", "cpu", "cuda"):
        raise DeviceError(f"{DEVICE_VARIABLE}={named}: say cpu or cuda, or leave it out")
    found = torch.cuda.is_available()
    if not found and named != "cpu" and cuda_driver.shows_gpus(os.environ):
        raise DeviceError(
            cuda_driver.refusal(os.environ)
            or "there is a GPU, but PyTorch can use none, though its build fits the driver:"
            " `python -c 'import torch; torch.cuda.init()'` says why."
            f" {cuda_driver.ON_THE_CPU}"
        )
    if named == "cuda" and not found:
        raise DeviceError(f"{DEVICE_VARIABLE}=cuda, but PyTorch sees no GPU here")
    return "cuda" if found and named != "cpu" else "cpu"


def computes_bfloat16() -> bool:
    """Tell whether this job's device has arithmetic for bfloat16.

    A processor without it (one before AVX-512, for example) converts number by number: matrix
    products then take 6 to 30 times as long as in float32 (one thread of an AMD EPYC with AVX2,
    PyTorch 2.15).
    """
    return compute_device() == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def check_gpus(asked: int) -> None:
    """Compare the GPUs of a Slurm job with those that its rule asked for.

    A job that silently computes on a CPU, or on a GPU of somebody else, costs days. Outside Slurm
    nothing is known of GPUs that were asked for, and any number is right.

    Args:
        asked: GPUs on this node (the resource `gpu`). A job that asked for none is shown none.

    Raises:
        DeviceError: saying what was asked for, what is there, and what to do.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return
    if not asked:
        os.environ.update(dict.fromkeys(VISIBLE_VARIABLES, ""))
        return
    visible = visible_gpus(os.environ)
    if visible != asked:
        raise DeviceError(
            f"the rule asked Slurm for {asked} GPU(s), and {visible} are visible in the job: look"
            " at `scontrol show job` and the site's gres.conf. On a cluster without GPUs add"
            f" --set-resources {NO_GPUS}"
        )
    if compute_device() == "cuda" and torch.cuda.device_count() != asked:
        raise DeviceError(
            f"Slurm gave this job {asked} GPU(s), and PyTorch sees {torch.cuda.device_count()}"
        )
    if compute_device() == "cpu" and os.environ.get(DEVICE_VARIABLE) != "cpu":
        raise DeviceError(
            f"Slurm gave this job {asked} GPU(s), and PyTorch can use none:"
            f" {_why_none()}. {cuda_driver.ON_THE_CPU}, or `device: cpu` in the site's file"
        )


def _why_none() -> str:
    """Say why PyTorch sees no GPU where Slurm gave one."""
    build = cuda_driver.installed_build()
    return cuda_driver.misfit(build, cuda_driver.driver_cuda()) or "no device file is in the job"


def visible_gpus(environ: Mapping[str, str]) -> int:
    """Return how many GPUs the environment shows: the longest of the lists that vendors use."""
    lists = (environ.get(name, "") for name in VISIBLE_VARIABLES)
    return max(len([gpu for gpu in names.split(",") if gpu.strip()]) for names in lists)
