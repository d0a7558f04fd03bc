"""rules/merge.smk: adapters, read, combined, merged into their base and proved."""
