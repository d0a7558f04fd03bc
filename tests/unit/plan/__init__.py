"""Tests of scripts/lib/plan."""
