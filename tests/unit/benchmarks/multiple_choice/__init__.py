"""Tests of scripts/lib/benchmarks/multiple_choice."""
