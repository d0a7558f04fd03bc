"""Tests of scripts/lib/data."""
