"""Tests of scripts/lib/config."""
