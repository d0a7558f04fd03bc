"""rules/judge.smk: a model, local or behind a service, says which of two answers is better."""
