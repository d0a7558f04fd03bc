"""Which subject of MMLU and its kin belongs to which category, in every convention in use.

For MMLU's 57 two conventions exist and differ in one subject: anatomy is Other in the paper's own
code and in LLaMA-Factory (`hendrycks`), and STEM in lm-eval's task tags (`lm-eval`). Moving the 135
questions of anatomy moves both averages, so the map is a declared choice and is printed beside the
scores.

Sources: Hendrycks et al., "Measuring Massive Multitask Language Understanding", 2021,
https://arxiv.org/abs/2009.03300 (categories.py of its code); lm-eval 0.4.13, tasks/mmlu.
"""

from collections.abc import Collection, Mapping
from typing import Literal, get_args

from scripts.lib.errors import ScoreError
from scripts.lib.questions.chinese_subjects import CEVAL, CMMLU

CategoryMap = Literal["hendrycks", "lm-eval", "cmmlu", "ceval", "column", "none", "tasks"]

AVERAGE = "Average"
# Display order of every table; Average is over questions, not over the four categories.
CATEGORY_ORDER = (AVERAGE, "STEM", "Social Sciences", "Humanities", "Other")

_STEM = (
    "abstract_algebra",
    "astronomy",
    "college_biology",
    "college_chemistry",
    "college_computer_science",
    "college_mathematics",
    "college_physics",
    "computer_security",
    "conceptual_physics",
    "electrical_engineering",
    "elementary_mathematics",
    "high_school_biology",
    "high_school_chemistry",
    "high_school_computer_science",
    "high_school_mathematics",
    "high_school_physics",
    "high_school_statistics",
    "machine_learning",
)
_SOCIAL_SCIENCES = (
    "econometrics",
    "high_school_geography",
    "high_school_government_and_politics",
    "high_school_macroeconomics",
    "high_school_microeconomics",
    "high_school_psychology",
    "human_sexuality",
    "professional_psychology",
    "public_relations",
    "security_studies",
    "sociology",
    "us_foreign_policy",
)
_HUMANITIES = (
    "formal_logic",
    "high_school_european_history",
    "high_school_us_history",
    "high_school_world_history",
    "international_law",
    "jurisprudence",
    "logical_fallacies",
    "moral_disputes",
    "moral_scenarios",
    "philosophy",
    "prehistory",
    "professional_law",
    "world_religions",
)
_OTHER = (
    "anatomy",
    "business_ethics",
    "clinical_knowledge",
    "college_medicine",
    "global_facts",
    "human_aging",
    "management",
    "marketing",
    "medical_genetics",
    "miscellaneous",
    "nutrition",
    "professional_accounting",
    "professional_medicine",
    "virology",
)

_HENDRYCKS: Mapping[str, str] = {
    subject: category
    for category, subjects in (
        ("STEM", _STEM),
        ("Social Sciences", _SOCIAL_SCIENCES),
        ("Humanities", _HUMANITIES),
        ("Other", _OTHER),
    )
    for subject in subjects
}

# Subject -> display name of its category, per convention.
CATEGORY_MAPS: Mapping[str, Mapping[str, str]] = {
    "hendrycks": _HENDRYCKS,
    "lm-eval": {**_HENDRYCKS, "anatomy": "STEM"},
    "cmmlu": CMMLU,
    "ceval": CEVAL,
}
_NAMES = {"cmmlu": "CMMLU", "ceval": "C-Eval"}


def category_of(subject: str, category_map: str) -> str:
    """Return the display name of a subject's category.

    Args:
        subject: An MMLU subject, such as `high_school_physics`.
        category_map: `hendrycks`, `lm-eval`, `cmmlu` or `ceval`.

    Raises:
        ScoreError: The map is unknown, or does not hold the subject.
    """
    if category_map not in CATEGORY_MAPS:
        raise ScoreError(
            f"There is no category map {category_map!r}. Choose one of "
            f"{', '.join(get_args(CategoryMap))}."
        )
    if fault := unknown_subjects((subject,), category_map):
        raise ScoreError(f"{fault}.")
    return CATEGORY_MAPS[category_map][subject]


def unknown_subjects(subjects: Collection[str], category_map: str) -> str | None:
    """Say which subjects a category map does not hold and what to do, or return None."""
    unknown = [subject for subject in subjects if subject not in CATEGORY_MAPS[category_map]]
    if not unknown:
        return None
    own = f"{_NAMES.get(category_map, 'MMLU')}'s {len(CATEGORY_MAPS[category_map])}"
    fitting = [name for name, subjects_ in CATEGORY_MAPS.items() if {*subjects} <= {*subjects_}]
    other = f"write `categories: {fitting[0]}`, which does; " if fitting else ""
    return (
        f"{', '.join(unknown)}: none of {own}, so the category map {category_map!r} does not"
        f" hold them; {other}ask such questions as"
        " `kind: multiple_choice` with a `category_column`, or name other `subjects`"
    )


def group_subjects(subjects: Collection[str], category_map: str) -> dict[str, tuple[str, ...]]:
    """Return the subjects of each category that has any, Average first, in display order.

    Args:
        subjects: The subjects at hand; a part of MMLU is fine.
        category_map: One of `CATEGORY_MAPS`, `column` (every subject is a category of its own),
            `tasks` (the same where there are several), or `none` (everything is Average only).

    Raises:
        ScoreError: A subject is unknown to the map.
    """
    groups: dict[str, tuple[str, ...]] = {AVERAGE: tuple(sorted(subjects))}
    if category_map == "none" or (category_map == "tasks" and len(subjects) == 1):
        return groups
    if category_map in ("column", "tasks"):
        return groups | {subject: (subject,) for subject in groups[AVERAGE]}
    members = {subject: category_of(subject, category_map) for subject in groups[AVERAGE]}
    for category in CATEGORY_ORDER[1:]:
        found = tuple(subject for subject, name in members.items() if name == category)
        if found:
            groups[category] = found
    return groups
