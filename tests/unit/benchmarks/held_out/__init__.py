"""Tests of scripts/lib/benchmarks/held_out."""
