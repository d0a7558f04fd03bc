"""What the lock demands and what is installed."""

from importlib.metadata import version
from pathlib import Path

import pytest

from scripts.lib.artifacts.pins import check_installed, read_lock, select
from scripts.lib.artifacts.stages import STAGES
from scripts.lib.errors import ConfigError, StaleError

LOCK = Path(__file__).parents[3] / "requirements.lock"

TEXT = """\
# a comment
a-library==1.2.3 \\
    --hash=sha256:00
    # via other==9
b_library==2.0+cpu ; python_full_version < '3.0' \\
    --hash=sha256:00
B-Library==3.0 ; python_full_version >= '3.0' and sys_platform == 'linux' \\
    --hash=sha256:00
c==1 ; sys_platform == 'never'
"""


def test_pins_are_those_of_this_python_and_platform(tmp_path):
    (tmp_path / "lock").write_text(TEXT)
    assert read_lock(tmp_path / "lock") == {"a-library": "1.2.3", "b-library": "3.0"}


@pytest.mark.parametrize("text", [None, "", "# only comments\n"])
def test_a_lock_without_pins_is_refused_with_the_remedy(tmp_path, text):
    if text is not None:
        (tmp_path / "lock").write_text(text)
    with pytest.raises(ConfigError, match="make lock"):
        read_lock(tmp_path / "lock")


def test_selected_pins_are_only_those_asked_for():
    assert select({"a": "1", "b": "2"}, ["b"]) == {"b": "2"}


def test_a_library_without_a_pin_is_named():
    with pytest.raises(ConfigError, match="does not pin x, y"):
        select({"a": "1"}, ["x", "a", "y"])


def test_the_lock_pins_every_library_of_every_stage():
    lock = read_lock(LOCK)
    for stage in STAGES.values():
        assert set(select(lock, stage.libraries)) == set(stage.libraries)


def test_what_is_installed_here_passes():
    check_installed({"pytest": version("pytest"), "packaging": version("packaging")})


@pytest.fixture
def torch_is(monkeypatch, tmp_path):
    """Return a function that installs only the metadata of a torch, before any other."""

    def install(text: str) -> None:
        folder = tmp_path / "torch-0.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {text}\n")
        monkeypatch.syspath_prepend(tmp_path)
        assert version("torch") == text

    return install


@pytest.mark.parametrize("build", ["", "+cpu", "+cu126", "+cu132", "+rocm6.4"])
@pytest.mark.parametrize("locked", ["", "+cpu"])
def test_another_build_of_the_pinned_version_will_do_and_has_the_same_pin(
    torch_is, tmp_path, build, locked
):
    (tmp_path / "lock").write_text(f"torch==2.15.0{locked} \\\n    --hash=sha256:00\n")
    torch_is(f"2.15.0{build}")
    pins = select(read_lock(tmp_path / "lock"), ["torch"])
    assert pins == {"torch": "2.15.0"}
    check_installed(pins)


@pytest.mark.parametrize("found", ["2.15.1", "2.15.1+cpu", "2.15.0rc1+cpu"])
def test_another_version_is_no_other_build(torch_is, found):
    torch_is(found)
    with pytest.raises(StaleError, match=r"torch: locked 2\.15\.0, installed 2"):
        check_installed({"torch": "2.15.0"})


def test_every_library_that_differs_is_named_with_both_versions():
    with pytest.raises(StaleError) as error:
        check_installed({"pytest": "0.1", "no-such-library": "2.0"})
    text = str(error.value)
    assert f"pytest: locked 0.1, installed {version('pytest')}" in text
    assert "no-such-library: locked 2.0, installed nothing" in text
    assert "make env" in text
