"""The bench that comparisons are made on."""

import pytest

from tests.unit.compare.bench import Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)
