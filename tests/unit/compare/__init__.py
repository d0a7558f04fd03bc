"""Tests of scripts/lib/compare."""
