"""Tests of scripts/lib/benchmarks/mmlu."""
