"""Artifacts: their identity (stages, graph, keys, code, pins), and where they are kept."""
