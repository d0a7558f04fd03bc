"""Tests of scripts/tools."""
