"""Prompts whose two answers a judge compares."""
