"""Tests of scripts/lib/jobs."""
