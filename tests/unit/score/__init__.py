"""Tests of scripts/lib/score."""
