"""Tests of scripts/lib/attention."""
