"""The embedded default itself, from nothing, as `make demo` runs it."""

import base64
import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.agreement import assert_agreement
from tests.comparison_file import read_comparison
from tests.workspace import ROOT, jobs, snakemake

PROFILE = (
    *("--profile", str(ROOT / "profiles/local"), "--cores", "2"),
    *("--set-threads", "train_adapter=1", "score_benchmark=1"),
)
"""As in the Makefile's target."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the embedded default ran to its report."""
    folder = tmp_path_factory.mktemp("demo")
    result = snakemake(folder, *PROFILE, limit=3600)
    assert result.returncode == 0, result.stdout
    return folder


@pytest.fixture(scope="module")
def comparison(demo: Path) -> dict:
    """Return the demo's comparison.json."""
    return read_comparison(demo / "results/report")


@pytest.mark.e2e
def test_the_report_has_five_categories_for_three_candidates(demo: Path, comparison: dict) -> None:
    mmlu = comparison["benchmarks"]["mmlu"]
    assert mmlu["categories"] == ["Average", "STEM", "Social Sciences", "Humanities", "Other"]
    assert set(mmlu["candidates"]) == {"smollm2", "gentle", "strong"}
    assert all(len(rows) == 5 for rows in mmlu["candidates"].values())
    page = (demo / "results/report/index.html").read_text()
    assert all(category in page for category in mmlu["categories"])
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.e2e
def test_the_tuned_model_learnt_what_the_base_cannot(comparison: dict) -> None:
    orders = comparison["benchmarks"]["orders"]
    base = orders["candidates"]["smollm2"]["Average"]["accuracy"]
    strong = orders["candidates"]["strong"]["Average"]["accuracy"]
    assert base < 0.1
    assert strong > 0.5
    row = orders["differences"]["strong"]["Average"]
    assert row["difference"] > 3 * row["stderr"]
    assert row["gained"] - row["lost"] == round((strong - base) * row["n"])


@pytest.mark.e2e
def test_the_tuned_model_is_better_on_the_domain_itself(demo: Path, comparison: dict) -> None:
    domain = comparison["held_out"]["domain"]
    base, strong = (domain["candidates"][name] for name in ("smollm2", "strong"))
    assert strong["perplexity"] < base["perplexity"] / 2
    assert strong["adherence"]["format"]["rate"] > base["adherence"]["format"]["rate"]
    assert domain["differences"]["strong"]["loss"]["verdict"] == "better"
    assert domain["forms"] == ["one line", "the sign |"]
    own = json.loads((demo / "results/runs/strong/scores/domain.held_out.json").read_text())
    assert own["perplexity"] == strong["perplexity"]


@pytest.mark.e2e
def test_the_files_say_the_same_numbers(demo: Path, comparison: dict) -> None:
    report = demo / "results/report"
    assert assert_agreement(report, report) >= 3 * (5 + 12 + 1)
    scores = json.loads((demo / "results/runs/strong/scores/mmlu.stem.json").read_text())
    row = comparison["benchmarks"]["mmlu"]["candidates"]["strong"]["STEM"]
    assert scores["n"] == row["n"] == 30
    assert scores["correct"] == row["correct"]
    merged = (demo / "results/runs/strong/model").resolve()
    manifest = json.loads(merged.with_name(f"{merged.name}.json").read_text())
    assert scores["made_of"]["model"] == manifest["content"]
    assert scores["versions"]["lm-eval"] == version("lm-eval")


@pytest.mark.e2e
def test_a_second_run_does_nothing(demo: Path) -> None:
    result = snakemake(demo, *PROFILE)
    assert result.returncode == 0, result.stdout
    assert "Nothing to be done" in result.stdout
    assert jobs(result.stdout) == []


@pytest.mark.e2e
def test_snakemake_s_own_report_holds_the_results_with_captions(demo: Path) -> None:
    made = snakemake(demo, "--config", "plan=full", "--report", "report.html")
    assert made.returncode == 0, made.stdout
    text = re.search(
        r"var results = (\{.*?\});\s*</script>", (demo / "report.html").read_text(), re.S
    )[1]
    found = json.loads(text.replace("\\\n", " "))
    rules = {
        ("compare_runs", "comparison.json"),
        ("compare_runs", "comparison.csv"),
        ("compare_runs", "comparison.md"),
        ("write_report", "index.html"),
        ("prove_merge", "proof.json"),
        ("show_examples", "index.html"),
    }
    assert {(one["job_properties"]["rule"], one["name"]) for one in found.values()} == rules
    for path, one in found.items():
        assert one["caption"].startswith("<p>") and all(one["labels"].values())
        assert (
            base64.b64decode(one["data_uri"].partition("base64,")[2]) == (demo / path).read_bytes()
        )
