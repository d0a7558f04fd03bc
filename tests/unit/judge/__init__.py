"""Tests of scripts/lib/judge."""
