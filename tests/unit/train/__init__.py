"""Tests of scripts/lib/train."""
