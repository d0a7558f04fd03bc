"""The logic of Tunesmith: typed functions that know neither Snakemake nor a command line."""
