"""Tests of scripts/lib/questions."""
