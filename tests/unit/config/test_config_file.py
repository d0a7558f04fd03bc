"""The file of a configuration: what is read of it, and what of YAML is refused."""

import re
from pathlib import Path

import pytest

from scripts.lib.config.load import read_config_file
from scripts.lib.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_two_runs_of_one_name_are_an_error_with_both_lines(tmp_path):
    path = write(tmp_path, "runs:\n  gentle:\n    model: a\n  other: {}\n  gentle:\n    model: b\n")
    with pytest.raises(ConfigError, match="only the last") as caught:
        read_config_file(path)
    assert f"{path}:5: runs.gentle stands in line 2 already" in str(caught.value)


def test_every_repeated_key_is_listed(tmp_path):
    path = write(tmp_path, "a: [{x: 1, x: 2}]\nb: 1\nb: 2\n'b': 3\n")
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    keys = re.findall(r":(\d+): (\S+) stands in line (\d+)", str(caught.value))
    assert keys == [("3", "b", "2"), ("4", "b", "2")]


def test_a_merged_default_may_be_overridden(tmp_path):
    text = "base: &base {r: 8, alpha: 16}\nlora:\n  <<: *base\n  r: 4\n"
    assert read_config_file(write(tmp_path, text))["lora"] == {"r": 4, "alpha": 16}


def test_an_empty_file_is_an_empty_mapping(tmp_path):
    assert read_config_file(write(tmp_path, "# nothing yet\n")) == {}


@pytest.mark.parametrize(
    "text", ["a: [1\n", "- 1\n- 2\n", "\ta: 1\n", "!!python/name:os.system a\n", "a: 2026-13-01\n"]
)
def test_a_broken_file_is_named(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        read_config_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nothing"):
        read_config_file(tmp_path / "nothing.yaml")
