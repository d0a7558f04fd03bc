"""Tasks of lm-eval, its own or a user's."""
