"""Tests of scripts/lib/machine."""
