"""Tests of scripts/lib/fetch."""
