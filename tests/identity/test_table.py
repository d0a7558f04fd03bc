"""The promise, row by row: after each change exactly what follows from it is made."""

import pytest

from tests.identity.rows_blend import BLEND_ROWS
from tests.identity.rows_choice import CHOICE_ROWS
from tests.identity.rows_config import CONFIG_ROWS
from tests.identity.rows_contamination import CONTAMINATION_ROWS
from tests.identity.rows_files import DISK_ROWS
from tests.identity.rows_full import FULL_RESULT_ROWS, FULL_ROWS
from tests.identity.rows_held_out import HELD_OUT_ROWS
from tests.identity.rows_hub import HUB_ROWS
from tests.identity.rows_lm_eval import LM_EVAL_ROWS
from tests.identity.rows_mixture import MIXTURE_ROWS
from tests.identity.rows_pairs import PAIRS_ROWS
from tests.identity.rows_results import RESULT_ROWS
from tests.identity.rows_scores import SCORE_ROWS
from tests.identity.table import Row, failures

ROWS = [
    *CONFIG_ROWS,
    *SCORE_ROWS,
    *HUB_ROWS,
    *BLEND_ROWS,
    *CHOICE_ROWS,
    *FULL_ROWS,
    *FULL_RESULT_ROWS,
    *HELD_OUT_ROWS,
    *LM_EVAL_ROWS,
    *MIXTURE_ROWS,
    *PAIRS_ROWS,
    *CONTAMINATION_ROWS,
    *DISK_ROWS,
    *RESULT_ROWS,
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_exactly_what_follows_from_a_change_is_made(row: Row, worlds, tmp_path):
    assert failures([row], worlds, tmp_path) == []


def test_names_of_rows_differ():
    names = [row.name for row in ROWS]
    assert sorted(names) == sorted(set(names))
