"""rules/fetch.smk: models, datasets and benchmarks, as they were published."""
