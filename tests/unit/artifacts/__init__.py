"""Tests of scripts/lib/artifacts."""
