"""Tests of scripts/lib/benchmarks/lm_eval."""
