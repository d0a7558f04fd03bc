"""The schema file and the reference page say what the classes say."""

import difflib
import json
import re
from pathlib import Path

import pytest

from scripts.lib.config.expansion import leaf_keys
from scripts.lib.config.fields import KINDS
from scripts.lib.config.problems import resolve
from scripts.tools.write_config_docs import (
    PAGE_PATH,
    SCHEMA_PATH,
    WORDS_PATH,
    config_schema,
    main,
    page_text,
    schema_text,
    words_text,
)

ROOT = Path(__file__).parents[3]


def classes() -> dict[str, dict]:
    """Return the schema of every class, the whole file's included, by name."""
    schema = config_schema()
    top = {
        "properties": {
            key: node
            for key, node in schema["properties"].items()
            if "patternProperties" not in node
        }
    }
    found = {"ConfigFile": top, **schema["$defs"]}
    return {name: {**node, "$defs": schema["$defs"]} for name, node in found.items()}


@pytest.mark.parametrize(
    ("path", "text"),
    [(SCHEMA_PATH, schema_text), (PAGE_PATH, page_text), (WORDS_PATH, words_text)],
    ids=["schema", "page", "words"],
)
def test_the_files_are_up_to_date(path, text):
    on_disk = (ROOT / path).read_text(encoding="utf-8").splitlines()
    diff = list(difflib.unified_diff(on_disk, text().splitlines(), str(path), "classes", n=1))
    assert not diff, "run python -m scripts.tools.write_config_docs\n" + "\n".join(diff)


def test_every_setting_has_a_description_and_a_kind():
    settings = {
        f"{name}.{key}": leaf
        for name, node in classes().items()
        for key, leaf in leaf_keys(node).items()
    }
    assert len(settings) > 60
    for key, leaf in settings.items():
        assert leaf.get("description", "").endswith("."), key
        assert leaf.get("kind") in KINDS, key


def test_every_group_has_a_description():
    for name, node in classes().items():
        for key, inner in node["properties"].items():
            assert resolve(inner, node).get("description"), f"{name}.{key}"


def test_the_page_explains_every_setting():
    page = page_text()
    for name, node in classes().items():
        for key, leaf in leaf_keys(node).items():
            own = re.sub(r"^(report|tracking|contamination)\.", "", key)
            assert f"`{own}`" in page or f".{key}`" in page, f"{name}.{key}"
            assert leaf["description"] in page, f"{name}.{key}"


def test_the_schema_is_stable():
    assert schema_text() == schema_text()
    assert json.loads(schema_text()) == config_schema()


def test_the_program_writes_all_files(tmp_path):
    main(["--root", str(tmp_path)])
    assert (tmp_path / SCHEMA_PATH).read_text(encoding="utf-8") == schema_text()
    assert (tmp_path / PAGE_PATH).read_text(encoding="utf-8") == page_text()
    assert (tmp_path / WORDS_PATH).read_text(encoding="utf-8") == words_text()
