"""Tunesmith: what did this fine-tune do to the model?

snakemake --profile local                          the embedded demo
snakemake --profile local --configfile mine.yaml   your own runs
snakemake --profile slurm --configfile mine.yaml   the same on a cluster
"""

from snakemake.utils import min_version

min_version("9.27")


report: "rules/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/fetch.smk"
include: "rules/data.smk"
include: "rules/contamination.smk"
include: "rules/train.smk"
include: "rules/merge.smk"
include: "rules/score.smk"
include: "rules/judge.smk"
include: "rules/report.smk"
include: "rules/publish.smk"


rule all:
    """Compare every tuned model with its base, report, and hold them against the budget."""
    default_target: True
    input:
        targets(),
    localrule: True


onstart:
    start_workflow()


onsuccess:
    end_workflow()


onerror:
    end_workflow()
