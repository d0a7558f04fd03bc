"""Tests of scripts/lib/adapters."""
