"""The YAML file: its schema, its sweeps, and what is wrong with it in words."""
