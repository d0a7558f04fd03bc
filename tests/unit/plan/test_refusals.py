"""Every refusal of a stage, and why planning did not come first.

What needs nothing but the configuration and local files is refused before any job; a stage may ask
again, by the same function. A new `raise` in a stage fails here until it has its reason below, and
so does a reason whose `raise` is gone.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from scripts.lib import errors

LIB = Path(__file__).parents[3] / "scripts/lib"
STAGES = (
    *("fetch", "data", "train", "merge", "questions", "contamination", "score"),
    *("judge", "compare", "report", "benchmarks"),
)
PLANNING = ("options.py", "plan.py")
"""Files of a kind of benchmark that are read while planning: what they refuse is refused there."""

COMMANDS = ("people.py", "sheets.py")
"""Files of a kind that commands use and no stage."""


class Why(Enum):
    """Whether a configuration that planning accepts still leads to a refusal, and why."""

    PLANNED = "no: planning refuses it first"
    NEVER = "no: the schema, or the stage before, sees to it"
    HUB = "what a hub or a package brings is not known before it is fetched"
    DEEP = "stands behind the rows that planning reads"
    TOKENIZER = "needs the tokenizer, which planning does not load"
    WEIGHTS = "needs what is in the weights"
    MODEL = "is for the model to answer"
    CODE = "needs code of a task, of a template or of a library to run"
    SERVICE = "is for a service to answer"
    MACHINE = "is of the machine that the job gets, or of its environment"
    CHANGED = "needs files that were changed, damaged or removed after they were planned or made"


class Reason(NamedTuple):
    """Why a `raise` is where it is.

    Attributes:
        why: The reason.
        planning: The function that refuses it while planning: always, or where files are local.
    """

    why: Why
    planning: str = ""


def planned(by: str) -> Reason:
    return Reason(Why.PLANNED, by)


def hub(local: str) -> Reason:
    """Return the reason of what planning refuses of local files, with the function that does."""
    return Reason(Why.HUB, local)


NEVER, HUB, DEEP, TOKENIZER, WEIGHTS, MODEL, CODE, SERVICE, MACHINE, CHANGED = (
    Reason(why) for why in Why if why is not Why.PLANNED
)

# What is raised, and in which function -> the reasons in the order of the file, functions of one
# name in the order of their modules' paths.
TABLE: dict[str, list[Reason]] = {
    # Fetching.
    "ConfigError _check_complete": [hub("model_faults")] * 4,
    "ConfigError _download": [HUB] * 3,
    "ConfigError _download_model": [HUB],
    "ConfigError load_split": [HUB] * 2,
    "ConfigError commit_of": [HUB] * 3,
    "ConfigError _check": [CHANGED],
    "ConfigError fetch_model": [CHANGED],
    "ConfigError fetch": [CODE, CHANGED],
    # Rows of benchmarks: planning reads local ones by the same functions.
    "ConfigError refuse_bad_rows": [hub("counts")],
    "ConfigError sort_choices": [planned("counts")],
    "ConfigError _check_counting": [planned("counts")],
    "ConfigError _file_names": [planned("counts")],
    "ConfigError arrange_choices": [planned("counts")] * 2,
    "ConfigError read_tables": [planned("counts")] * 3,
    "ConfigError _contents": [planned("counts")],
    "ConfigError _read": [planned("counts")] * 2,
    "ConfigError _columns_of": [planned("counts")],
    # Tasks of lm-eval: names of its own are looked up; a user's files are code.
    "ConfigError NameIndex.entry": [CODE],
    "ConfigError _Factory._build_task": [CODE],
    "ConfigError _entry_of": [CODE],
    "ConfigError _encoded": [CODE],
    "ConfigError _place_of": [CODE],
    "ConfigError _fetch_rows": [CODE],
    "ConfigError _try_all": [CODE],
    "ConfigError check_metrics": [CODE],
    "ConfigError described": [CODE],
    "ConfigError splits_of": [CODE],
    "ConfigError load_rows": [HUB],
    "ConfigError write_rows": [CODE] * 2,
    "ConfigError _rows_of_file": [CODE],
    "ConfigError _rows_of_folder": [CODE],
    "ConfigError _rows_of_library": [HUB] * 2,
    "ConfigError keep_data": [MACHINE] * 2,
    "ConfigError fetch_adapter": [hub("adapter_faults")],
    # Datasets.
    "RecordError source_files": [NEVER] * 2,
    "RecordError naming": [DEEP] * 2,
    "RecordError key_of_rows": [planned("has_rows")],
    "RecordError _json_rows": [DEEP] * 2,
    "RoomError _shared": [MACHINE],
    "RecordError check_columns": [hub("check_usable_rows")],
    "RecordError _check_source": [planned("check_usable_rows")] * 2,
    "RecordError format_chat": [hub("check_usable_rows")],
    "RecordError drop_contaminated": [DEEP],
    # Templates and tokenizers.
    "TemplateError load_fast_tokenizer": [TOKENIZER] * 2,
    "TemplateError resolve_template": [hub("lacking")],
    "TemplateError add_tokens": [TOKENIZER],
    "TemplateError training_template": [hub("lacking"), hub("strange_to_trl")],
    "TemplateError Renderer.render": [CODE],
    "TemplateError render_shards": [CODE],
    "TemplateError find_stops": [TOKENIZER],
    # Training.
    "TrainingError check_spec": [NEVER, planned("training_problems"), planned("untrainable")],
    "TrainingError check_one_gpu": [MACHINE],
    "TrainingError FullTuning.check": [hub("merge_problems")],
    "TrainingError _check_room": [MACHINE],
    "TrainingError check_modules": [hub("module_problems")],
    "TrainingError start_from_inputs": [WEIGHTS],
    "TrainingError check_batch": [planned("untrainable")],
    "TrainingError smaller_passes": [MACHINE],
    "TrainingError check_facts": [TOKENIZER, NEVER, WEIGHTS],
    "TrainingError load_splits": [hub("check_usable_rows")],
    "TrainingError _new_tokens": [NEVER],
    "TrainingError _mixture": [DEEP],
    "TrainingError _load_valid": [hub("check_usable_rows"), TOKENIZER],
    "TrainingError _check_steps": [TOKENIZER],
    "TrainingError Trainer.__init__": [WEIGHTS],
    "TrainingError _fit": [planned("untrainable"), MACHINE, MACHINE],
    "TrainingError with_shape_of": [hub("start_problems")],
    "TrainingError started_config": [TOKENIZER],
    "TrainingError load_start": [hub("adapter_faults")],
    "TrainingError _alone": [CODE],
    "TrainingError _check_rows": [hub("impossible_rows"), hub("impossible_rows"), WEIGHTS],
    # Combining, merging and proving.
    "MergeError _check_complete": [CHANGED],
    "MergeError _read_config": [
        *(CHANGED, hub("adapter_faults"), hub("adapter_faults"), hub("adapter_faults")),
        *(NEVER, hub("impossible_rows")),
    ],
    "MergeError read_adapter": [CHANGED],
    "MergeError _add_experts": [CHANGED] * 2,
    "MergeError _scale": [CHANGED],
    "MergeError _check_tokenizers": [hub("combination_problems")],
    "MergeError _combined": [WEIGHTS] * 2,
    "MergeError read_base_config": [CHANGED, hub("merge_problems")],
    "MergeError weight_files": [hub("model_faults")] * 2,
    "MergeError read_model": [WEIGHTS],
    "MergeError read_weight_file": [WEIGHTS],
    "MergeError read_into": [CHANGED],
    "MergeError check_vocabulary": [WEIGHTS] * 2,
    "MergeError _slot": [WEIGHTS] * 3,
    "_misfit _slot": [WEIGHTS] * 2,
    "MergeError _check_modules": [WEIGHTS],
    "MergeError _only_dtype": [WEIGHTS],
    "MergeError merge_with_peft": [WEIGHTS],
    "MergeError merge_adapter": [MACHINE],
    "MergeError _load_paged": [MACHINE],
    "MergeError _paged": [MACHINE],
    "MergeError load_tuned": [WEIGHTS] * 2,
    "MergeError _read_prompts": [CHANGED],
    "ScoreError _in_order": [NEVER],
    "ScoreError put_on": [WEIGHTS],
    # Asking.
    "ScoreError load_tokenizer": [hub("lacking")],
    "ScoreError render": [CODE],
    "ScoreError read_rows": [CHANGED] * 2,
    "ScoreError read_splits": [hub("_of_folder")],
    "ScoreError read_subject": [NEVER],
    "ScoreError read_own_choices": [CHANGED],
    "ScoreError held_out_conversations": [hub("check_usable_rows")],
    "ScoreError questions": [NEVER, TOKENIZER, NEVER, TOKENIZER, CHANGED, NEVER],
    "ScoreError questions_of_task": [CODE] * 2,
    "ScoreError _check_end": [TOKENIZER],
    "ScoreError check_lengths": [TOKENIZER],
    "ScoreError check_continuations": [TOKENIZER],
    "ScoreError _fitting": [TOKENIZER],
    "ScoreError check_backend": [MACHINE],
    "ScoreError load_backend": [MACHINE],
    "ScoreError Respondent.answer": [MACHINE],
    "ScoreError _load_vllm": [hub("impossible_rows")],
    "ScoreError grade_choices": [MODEL],
    "ScoreError grade_task": [MODEL],
    "ScoreError _grade": [MODEL],
    "ScoreError _judged": [CODE],
    # Judging.
    "ScoreError judge_locally": [hub("lacking")],
    "ScoreError _check_lengths": [TOKENIZER],
    "ScoreError _likeliest": [MODEL],
    "ScoreError load_pairs": [CHANGED],
    "ScoreError _key_of": [planned("unset")] * 2,
    "ScoreError ChatService.reply": [SERVICE],
    "self._error ChatService._reply": [SERVICE],
    # Summing up and comparing.
    "ScoreError category_of": [NEVER, hub("unknown_subjects")],
    "ScoreError aggregate_scores": [NEVER],
    "ScoreError aggregate_held_out": [CHANGED],
    "ScoreError load_answers": [CHANGED] * 3,
    "ScoreError read_provenance": [CHANGED],
    "ScoreError tally": [NEVER],
    "ScoreError counted": [CODE],
    "ScoreError value_of": [CODE],
    "ScoreError _numeric": [planned("expected_fault")],
    "ScoreError _compare_benchmark": [NEVER],
    "ScoreError compare_held_out": [NEVER],
    "ScoreError _check_same_questions": [NEVER],
    "ScoreError _check_same_protocol": [NEVER],
    "ScoreError measures": [NEVER],
    "ScoreError _check_same_prompts": [hub("unlike")],
    "ScoreError _difference": [hub("unlike")],
    "ScoreError _average": [CHANGED],
    "ScoreError read_categories": [CHANGED],
    "StoreError check_chain": [CHANGED],
    "BudgetError check_budget": [MODEL],
}


def raised(node: ast.AST, function: str = "") -> Iterator[tuple[str, str, int]]:
    """Yield what is raised by name, in which function, and on which line.

    What is caught and raised again is no new refusal, and neither is what becomes a row's verdict.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inner = isinstance(node, ast.FunctionDef)
            name = child.name if inner or not function else f"{function}.{child.name}"
            yield from raised(child, function if inner else name)
            continue
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call):
            what = ast.unparse(child.exc.func)
            if what in vars(errors) or not what.lstrip("_")[:1].isupper():
                yield what, function, child.lineno
        yield from raised(child, function)


def found() -> dict[str, list[str]]:
    """Return what is raised in which function -> the places, in order."""
    places = defaultdict(list)
    for package in STAGES:
        for file in sorted((LIB / package).rglob("*.py")):
            if package == "benchmarks" and file.name in (*PLANNING, *COMMANDS):
                continue
            for what, function, line in raised(ast.parse(file.read_text(encoding="utf-8"))):
                places[f"{what} {function}"].append(f"{file.relative_to(LIB)}:{line}")
    return dict(places)


def test_every_refusal_of_a_stage_has_its_reason_and_every_reason_its_refusal():
    places = found()
    assert {key: places[key] for key in places if key not in TABLE} == {}, "say why, in TABLE"
    assert [key for key in TABLE if key not in places] == [], "gone, or called otherwise"
    counts = {key: len(reasons) for key, reasons in TABLE.items()}
    assert {key: len(where) for key, where in places.items()} == counts, places


def test_what_planning_refuses_is_refused_by_a_function_that_is_there():
    """Each named function is one of planning's, or one that a stage shares with it."""
    names = {reason.planning for reasons in TABLE.values() for reason in reasons} - {""}
    known = {
        node.name
        for file in LIB.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert names <= known
    of_planning = [one for reasons in TABLE.values() for one in reasons if one.why is Why.PLANNED]
    assert all(one.planning for one in of_planning)
