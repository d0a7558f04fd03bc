"""Tests of scripts/lib/report."""
