"""Tests of scripts/lib/contamination."""
