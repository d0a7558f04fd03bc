"""Tests of scripts/lib/benchmarks/judged_pairs."""
