"""Manifests that were made from each other join by content."""

import pytest

from scripts.lib.compare.chain import check_chain
from scripts.lib.errors import StoreError


def manifest(content, **inputs):
    return {
        "content": content,
        "files": [],
        "inputs": {
            edge: [{"id": id, "content": found} for id, found in pairs]
            for edge, pairs in inputs.items()
        },
    }


def test_a_chain_that_joins_passes():
    check_chain(
        {
            "adapters/a": manifest("A"),
            "merged/a": manifest("M", adapter=[("adapters/a", "A")]),
            "scores/a": manifest("S", model=[("merged/a", "M")], benchmark=[("benchmarks/b", "?")]),
        }
    )


def test_every_joint_that_does_not_fit_is_named_with_the_remedy():
    with pytest.raises(StoreError) as error:
        check_chain(
            {
                "adapters/a": manifest("A2"),
                "merged/a": manifest("M2", adapter=[("adapters/a", "A1")]),
                "proofs/a": manifest(
                    "P", adapter=[("adapters/a", "A2")], merged=[("merged/a", "M1")]
                ),
            }
        )
    text = str(error.value)
    assert "merged/a was made from another adapters/a" in text
    assert "proofs/a was made from another merged/a" in text
    assert "proofs/a was made from another adapters/a" not in text
    assert "redo" in text


def test_scores_on_two_versions_of_one_benchmark_are_not_compared():
    """Its own manifest need not be at hand, as for a benchmark or a judge."""
    with pytest.raises(
        StoreError, match=r"scores/base and scores/run .* other bytes of benchmarks/b"
    ):
        check_chain(
            {
                "scores/base": manifest("S", benchmark=[("benchmarks/b", "one")]),
                "scores/run": manifest("T", benchmark=[("benchmarks/b", "two")]),
            }
        )
