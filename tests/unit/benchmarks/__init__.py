"""Tests of scripts/lib/benchmarks."""
