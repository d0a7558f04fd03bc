"""Tests of scripts/lib/benchmarks/exact_match."""
