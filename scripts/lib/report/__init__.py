"""rules/report.smk, its second half, and the model card: what people read."""
