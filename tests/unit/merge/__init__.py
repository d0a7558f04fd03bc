"""Tests of scripts/lib/merge."""
