"""Push to the hub, and only when it is asked for: snakemake --profile local publish

in   results/{merged,proofs,trained,comparisons}/
out  a commit on the hub; results/published/ says which
"""


rule publish:
    """Push the models of the runs that declare `publish`. Never part of `all`."""
    input:
        published(),
    log:
        "logs/publish.log",
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "HF_HUB_OFFLINE=0 python -m scripts.publish --plan {params.plan} 2>&1 | tee {log}"
