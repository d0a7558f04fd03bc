"""What a Slurm site needs to be told: the few keys of site.yaml.

profiles/slurm/config.yaml reads the same file, by itself, since a profile is read before any
project code; a test holds the two lists of keys together.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scripts.lib.errors import ConfigError

SITE_VARIABLE = "TUNESMITH_SITE"
PLACES = (Path("slurm/site.yaml"), Path("~/.config/tunesmith/site.yaml"))
"""Where the file is looked for, after the one that TUNESMITH_SITE names."""


class Site(BaseModel):
    """One site; every key may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    partition: str | None = Field(default=None, description="partition of jobs without a GPU")
    gpu_partition: str | None = Field(default=None, description="partition of jobs with a GPU")
    account: str | None = Field(default=None, description="account that is charged")
    qos: str | None = Field(default=None, description="quality of service")
    gpu_model: str | None = Field(default=None, description="GPU type, as in gres/gpu:<type>")
    constraint: str | None = Field(default=None, description="node feature that GPU jobs need")
    cache: str | None = Field(default=None, description="folder of artifacts that colleagues share")
    scratch: str | None = Field(
        default=None, description="shared folder for checkpoints and journals; else results/scratch"
    )
    device: str | None = Field(default=None, description="`cpu` keeps models off the GPUs")
    poll_seconds: int = Field(
        default=20, ge=1, description="seconds before a job's state is first asked"
    )


def find_site(environ: Mapping[str, str], folder: Path) -> Path | None:
    """Return the site file that `snakemake --profile slurm` reads when started in *folder*."""
    named = [Path(environ[SITE_VARIABLE])] if environ.get(SITE_VARIABLE) else []
    places = [folder / place.expanduser() for place in (*named, *PLACES)]
    return next((place for place in places if place.is_file()), None)


def read_site(path: Path | None) -> Site:
    """Return the site of a file, or one that says nothing.

    Raises:
        ConfigError: naming each wrong key, with what is allowed.
    """
    if path is None:
        return Site()
    try:
        return Site(**(yaml.safe_load(path.read_text()) or {}))
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        keys = ", ".join(Site.model_fields)
        raise ConfigError(f"{path}: {error}\nKnown keys: {keys}") from None


def folder_of(value: str) -> Path:
    """Return a folder of a site file with ~ and variables replaced."""
    return Path(os.path.expandvars(os.path.expanduser(value)))
