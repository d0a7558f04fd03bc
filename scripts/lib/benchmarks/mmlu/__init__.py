"""MMLU: four choices, 57 subjects, categories."""
