"""Experiment trackers that a training can report to, by the names that transformers has for them.

Pure: the configuration offers the names, and a plan asks for the packages before any job.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal, get_args

TrackerName = Literal[
    "tensorboard",
    "wandb",
    "azure_ml",
    "clearml",
    "codecarbon",
    "comet_ml",
    "dagshub",
    "dvclive",
    "flyte",
    "kubeflow",
    "mlflow",
    "neptune",
    "swanlab",
    "trackio",
]
TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)

_MODULES: Mapping[str, tuple[str, ...]] = {
    "azure_ml": ("azureml",),
    "dagshub": ("dagshub", "mlflow"),
    "flyte": ("flytekit",),
    "kubeflow": (),  # a service that its environment names
}
_PACKAGES: Mapping[str, str] = {"azureml": "azureml-core", "comet_ml": "comet-ml"}


def missing_tracker(name: str) -> str | None:
    """Say which package a tracker needs and this environment lacks, or return None."""
    lacking = [one for one in _MODULES.get(name, (name,)) if not find_spec(one)]
    if not lacking:
        return None
    packages = " ".join(_PACKAGES.get(one, one) for one in lacking)
    way = "make trackers" if name in ("tensorboard", "wandb") else f"pip install {packages}"
    return (
        f"tracking.report_to names {name}, whose package {packages} is not installed; install it"
        f" into the environment ({way}), or leave the name out"
    )
