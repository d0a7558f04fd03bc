"""The table notices when identity is computed wrongly: every mutant fails at least one row."""

import itertools
from dataclasses import dataclass

import pytest

from scripts.lib.artifacts import graph
from scripts.lib.artifacts.code_digest import ProjectCode
from scripts.lib.artifacts.graph import Artifact
from scripts.lib.benchmarks.kinds import MODULES
from scripts.lib.errors import ConfigError
from scripts.lib.files import FileEntry, content_of, list_files, sha256_of, stat_of
from scripts.lib.plan import build_graph, remembered, scores
from tests.identity.backed_parts import TOLD_BY_OTHERS, WITH
from tests.identity.mutants import Done, Mutant, Part, changed_parts, parts_of, planned
from tests.identity.rows_blend import BLEND_ROWS
from tests.identity.rows_choice import CHOICE_ROWS
from tests.identity.rows_config import CONFIG_ROWS
from tests.identity.rows_contamination import CONTAMINATION_ROWS
from tests.identity.rows_files import DISK_ROWS
from tests.identity.rows_full import FULL_ROWS
from tests.identity.rows_held_out import HELD_OUT_ROWS
from tests.identity.rows_hub import HUB_ROWS
from tests.identity.rows_lm_eval import LM_EVAL_ROWS
from tests.identity.rows_mixture import MIXTURE_ROWS
from tests.identity.rows_pairs import PAIRS_ROWS
from tests.identity.rows_scores import SCORE_ROWS

ROWS = [
    *CONFIG_ROWS,
    *SCORE_ROWS,
    *HUB_ROWS,
    *BLEND_ROWS,
    *CHOICE_ROWS,
    *FULL_ROWS,
    *HELD_OUT_ROWS,
    *LM_EVAL_ROWS,
    *MIXTURE_ROWS,
    *PAIRS_ROWS,
    *CONTAMINATION_ROWS,
    *DISK_ROWS,
]

TRIED = 8
"""Rows that a mutant is shown, those of its own part and the plainest first: the first one nearly
always fails."""


@dataclass(frozen=True)
class Honest:
    """What a row does under the honest code: what is wrong, and which parts it touches."""

    text: str
    touched: set[Part]


@pytest.fixture(scope="module")
def honest(worlds, tmp_path_factory) -> dict[str, Honest]:
    """Every row by name, planned once by the honest code."""
    folder = tmp_path_factory.mktemp("honest")
    before = {name: world.graph() for name, world in worlds.items()}
    done = {name: Done(graph) for name, graph in before.items()}
    result = {}
    for index, row in enumerate(ROWS):
        world = worlds[row.world]
        text, after = planned(row, world, done[row.world], folder / str(index))
        result[row.name] = Honest(text, changed_parts(before[row.world], after))
    return result


@pytest.fixture
def mutate(honest, monkeypatch):
    """Return the function that puts a mutant into the place of the identity code."""

    def put(mutant: Mutant) -> None:
        def key_with(self, inputs):
            return mutant.key_with(self, inputs)

        monkeypatch.setattr(Artifact, "key_with", key_with)

    return put


@pytest.fixture
def killer(worlds, honest, tmp_path):
    """Return the function that gives what the first failing row says.

    It tries the rows that it is given by name, or those that touch *parts*.
    """
    numbers = itertools.count()

    def first(parts: tuple[Part, ...] = (), names: tuple[str, ...] = ()) -> str:
        rows = [row for row in ROWS if row.name in names or honest[row.name].touched & set(parts)]
        assert rows, f"no row touches {parts} or has one of the names {names}"
        # What backs the first part is touched by many rows that say nothing of that part.
        own = set(parts[:1])
        plainest = sorted(
            rows,
            key=lambda row: (not honest[row.name].touched & own, len(honest[row.name].touched)),
        )
        done: dict[str, Done] = {}
        for row in plainest[:TRIED]:
            folder = tmp_path / str(next(numbers))
            try:
                if row.world not in done:
                    done[row.world] = Done(worlds[row.world].graph())
                text, _ = planned(row, worlds[row.world], done[row.world], folder)
            except ConfigError:  # datasets that the mutant takes for one; other rows tell more
                continue
            if text:
                return text
        return ""

    return first


def test_every_row_holds_for_a_plan_without_files(honest):
    """The quick way agrees with the real one, so that a mutant fails by its own fault."""
    assert [row.text for row in honest.values() if row.text] == []


def test_a_mutant_that_breaks_nothing_fails_no_row(worlds, mutate, tmp_path):
    mutate(Mutant("none"))
    done = {name: Done(world.graph()) for name, world in worlds.items()}
    for index, row in enumerate(ROWS[::8]):
        text, _ = planned(row, worlds[row.world], done[row.world], tmp_path / str(index))
        assert text == ""


def test_every_part_of_identity_that_is_left_out_makes_a_row_stale(worlds, mutate, killer):
    parts = set().union(*(parts_of(world.graph()) for world in worlds.values()))
    assert len(parts) > 90, "specs, edges, code and pins of fifteen stages"
    unknown = {*WITH, *TOLD_BY_OTHERS} - parts
    assert not unknown, f"explained, but not there: {sorted(unknown)}"
    survivors = []
    for part in sorted(parts - set(TOLD_BY_OTHERS)):
        left_out = (part, *WITH.get(part, ()))
        mutate(Mutant(f"without {part}", left_out))
        if "stale" not in killer(left_out):
            survivors.append(part)
    assert not survivors, f"no row misses {survivors}: add one"


def test_a_part_that_is_said_to_be_backed_can_be_left_out_alone(mutate, killer):
    """Else its entry in WITH would hide which row misses it."""
    needless = []
    for part in WITH:
        mutate(Mutant(f"without {part}", (part,)))
        if killer((part,)):
            needless.append(part)
    assert not needless, f"rows miss {needless} alone: take them out of WITH"


def test_a_field_that_others_tell_never_changes_alone(honest):
    for part in TOLD_BY_OTHERS:
        for name, row in honest.items():
            assert part not in row.touched or len(row.touched) > 1, name


NEEDLESS = {
    "the words for people": (lambda artifact: artifact.slug, "a raw file is renamed"),
    "limits of gates": (
        lambda artifact: [[gate.kind, gate.limit] for gate in artifact.gates],
        "max_dropped_fraction",
    ),
    "which gates there are": (lambda artifact: [g.kind for g in artifact.gates], "on_verdict"),
    "what gates ask": (
        lambda artifact: [gate.artifact for gate in artifact.gates],
        "code of prove_merge",
    ),
    "where local files lie": (
        lambda artifact: artifact.sources,
        "a raw file moves to another folder",
    ),
}


@pytest.mark.parametrize("name", NEEDLESS)
def test_what_does_not_belong_into_a_key_makes_a_row_needless(name, mutate, killer):
    extra, row = NEEDLESS[name]
    mutate(Mutant(name, needless=extra))
    assert "needless" in killer(names=(row,))


class Naming:
    """A graph that puts more than it should into the specs of a stage."""

    def __init__(self, graph, extra, stage):
        self._graph = graph
        self._extra = extra
        self._stage = stage
        self.artifacts = graph.artifacts

    def add(self, stage, slug, spec, **edges):
        more = {"more": self._extra} if stage == self._stage else {}
        return self._graph.add(stage, slug, {**spec, **more}, **edges)


@pytest.mark.parametrize(
    ("what", "row"),
    [
        (
            lambda config, run: next(n for n, r in config.runs.items() if r is run),
            "a run is renamed",
        ),
        (lambda config, run: run.keep_merged, "keep_merged"),
        (lambda config, run: run.on_verdict, "on_verdict"),
        (lambda config, run: run.model, "a model is renamed"),
        (lambda config, run: list(run.dataset), "a dataset is renamed"),
        (lambda config, run: run.template, "a template is renamed"),
    ],
    ids=[
        "name",
        "keep_merged",
        "on_verdict",
        "name of model",
        "name of dataset",
        "template's path",
    ],
)
def test_settings_of_a_run_that_change_no_byte_make_a_row_needless(what, row, monkeypatch, killer):
    honest = build_graph.tune

    def tune(graph, config, run, *others):
        return honest(Naming(graph, what(config, run), "adapters"), config, run, *others)

    monkeypatch.setattr(build_graph, "tune", tune)
    assert "needless" in killer(names=(row,))


@pytest.mark.parametrize(
    ("what", "row"),
    [
        (lambda combination: sorted(combination.combine), "a combined run is renamed"),
        (
            lambda combination: list(combination.combine.values()),
            "runs of a combination in another order",
        ),
        (lambda combination: combination.keep_merged, "keep_merged of blend becomes False"),
        (lambda combination: combination.merge, "merge of blend becomes False"),
        (lambda combination: combination.seed, "a combination says its defaults"),
        (lambda combination: combination.majority_sign, "a combination says its defaults"),
    ],
    ids=["names of runs", "their order", "keep_merged", "merge", "seed", "majority_sign"],
)
def test_what_changes_no_byte_of_a_combination_makes_a_row_needless(what, row, monkeypatch, killer):
    honest = build_graph.combine

    def combine(graph, combination, adapters):
        return honest(Naming(graph, what(combination), "combined"), combination, adapters)

    monkeypatch.setattr(build_graph, "combine", combine)
    assert "needless" in killer(names=(row,))


def test_a_memory_that_trusts_modification_times_makes_a_row_stale(monkeypatch, killer):
    monkeypatch.setattr(remembered, "stat_of", lambda path: stat_of(path)._replace(ctime_ns=0))
    assert "stale" in killer(names=("a raw row, old size and times",))


def test_file_times_instead_of_bytes_make_a_row_needless(monkeypatch, killer):
    monkeypatch.setattr(
        remembered.HashMemory, "sha256", lambda self, path: str(stat_of(path).mtime_ns)
    )
    assert "needless" in killer(names=("raw files are touched",))


@pytest.mark.parametrize(
    ("digest", "row", "fault"),
    [
        (
            lambda code, rule: sha256_of(code.program(rule)),
            "code of lib/train/loss_verdict",
            "stale",
        ),
        (lambda code, rule: closure_text(code, rule), "comments in every file", "needless"),
        (lambda code, rule: closure_text(code, rule), "docstrings of every module", "needless"),
        (lambda code, rule: closure_text(code, rule), "layout of every file", "needless"),
        (lambda code, rule: all_text(code.root), "code of lib/jobs/job", "needless"),
    ],
    ids=["the program only", "text 1", "text 2", "text 3", "the whole project"],
)
def test_other_digests_of_code_fail_a_row(digest, row, fault, monkeypatch, killer):
    monkeypatch.setattr(ProjectCode, "digest", lambda self, rule, kinds=(): digest(self, rule))
    assert fault in killer(names=(row,))


@pytest.mark.parametrize(
    ("kinds", "row", "fault"),
    [
        (lambda given: (), "code of lib/benchmarks/mmlu/questions", "stale"),
        (lambda given: (), "code of lib/benchmarks/exact_match/fetch", "stale"),
        (lambda given: (), "code of lib/benchmarks/mmlu/report", "stale"),
        (lambda given: tuple(MODULES), "code of lib/benchmarks/held_out/questions", "needless"),
        (
            lambda given: tuple(MODULES),
            "code of lib/benchmarks/judged_pairs/comparison",
            "needless",
        ),
        (lambda given: given[:1], "code of lib/benchmarks/mmlu/report", "stale"),
    ],
    ids=["none 1", "none 2", "none 3", "all 1", "all 2", "one of several"],
)
def test_digests_of_other_kinds_fail_a_row(kinds, row, fault, monkeypatch, killer):
    honest = ProjectCode.digest
    monkeypatch.setattr(
        ProjectCode, "digest", lambda self, rule, given=(): honest(self, rule, kinds(given))
    )
    assert fault in killer(names=(row,))


@pytest.mark.parametrize("row", ["a subject fewer", "a whole category fewer"])
def test_scores_of_all_wanted_subjects_in_one_artifact_fail_a_row(row, monkeypatch, killer):
    honest = scores.subjects_of

    def together(benchmark, place):
        wanted = honest(benchmark, place)
        return wanted if wanted == (None,) else ("+".join(wanted),)

    monkeypatch.setattr(scores, "subjects_of", together)
    assert "needless" in killer(names=(row,))


def test_the_whole_lock_in_every_key_makes_a_row_needless(monkeypatch, killer):
    monkeypatch.setattr(graph, "select", lambda lock, libraries: dict(lock))
    assert "needless" in killer(names=("absl-py moves in the lock",))


def closure_text(code, rule):
    closure = code.closure(code.program(rule))
    return content_of(tuple(FileEntry(path.name, 0, sha256_of(path)) for path in closure))


def all_text(root):
    return content_of(list_files(root))
