"""rules/score.smk: a model is asked, its answers are kept and summed up."""
