"""The schema and the page of comparison.json say what its types say."""

import copy
import difflib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from scripts.lib.compare.document import SECTIONS
from scripts.tools.write_results_docs import (
    PAGE_PATH,
    SCHEMA_PATH,
    SECTION_TYPES,
    comparison_schema,
    main,
    page_text,
    schema_text,
)
from tests.comparison_file import faults_of
from tests.unit.report_data import comparison

ROOT = Path(__file__).parents[3]


def forms():
    """Return name -> schema of everything that has fields, the whole file included."""
    schema = comparison_schema()
    return {"comparison.json": schema, **schema["$defs"]}


@pytest.mark.parametrize(
    ("path", "text"), [(SCHEMA_PATH, schema_text), (PAGE_PATH, page_text)], ids=["schema", "page"]
)
def test_the_files_are_up_to_date(path, text):
    on_disk = (ROOT / path).read_text(encoding="utf-8").splitlines()
    diff = list(difflib.unified_diff(on_disk, text().splitlines(), str(path), "types", n=1))
    assert not diff, "run python -m scripts.tools.write_results_docs\n" + "\n".join(diff)


def test_the_schema_is_one():
    Draft202012Validator.check_schema(comparison_schema())


def test_every_section_of_a_kind_has_a_type():
    assert list(SECTION_TYPES) == list(SECTIONS)


def test_every_field_has_a_meaning_and_no_other_field_is_allowed():
    fields = 0
    for name, form in forms().items():
        assert form["additionalProperties"] is False, name
        assert form["description"].endswith("."), name
        for key, field in form["properties"].items():
            assert field["description"].endswith("."), f"{name}.{key}"
            fields += 1
    assert fields > 100


def test_the_page_explains_every_field():
    page = page_text()
    for form in forms().values():
        for key, field in form["properties"].items():
            assert f"| `{key}` | " in page and f" | {field['description']}" in page


def test_a_field_too_many_one_too_few_and_a_wrong_value_are_found():
    document = comparison()
    assert not faults_of(document)
    (change,) = document["benchmarks"]["orders"]["differences"]["gentle"].values()
    for wrong in ({**change, "more": 1}, {**change, "n": "60"}, {**change, "verdict": "best"}):
        spoilt = copy.deepcopy(document)
        spoilt["benchmarks"]["orders"]["differences"]["gentle"]["Average"] = wrong
        assert len(faults_of(spoilt)) == 1
    del document["judged"]
    assert len(faults_of(document)) == 1


def test_the_program_writes_both_files(tmp_path):
    main(["--root", str(tmp_path)])
    assert (tmp_path / SCHEMA_PATH).read_text(encoding="utf-8") == schema_text()
    assert (tmp_path / PAGE_PATH).read_text(encoding="utf-8") == page_text()
