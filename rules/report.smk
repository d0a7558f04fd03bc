"""Compare and report.

in   results/{scores,categories}/, the manifests of all the rest
out  results/{comparisons,reports}/
"""


rule compare_runs:
    input:
        scores=reads("comparisons", "scores"),
        categories=reads("comparisons", "categories"),
        chain=knows("comparisons", "chain"),
    output:
        artifact=directory("results/comparisons/{artifact}"),
        manifest="results/comparisons/{artifact}.json",
    log:
        "logs/compare_runs/{artifact}.log",
    wildcard_constraints:
        artifact=planned("comparisons"),
    """Set every tuned model beside its base on the same questions."""
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.compare_runs --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --scores {input.scores} --categories {input.categories} --chain {input.chain}"
        " >{log} 2>&1"


rule write_report:
    input:
        comparison=reads("reports", "comparison"),
        facts=knows("reports", "facts"),
    output:
        artifact=directory("results/reports/{artifact}"),
        manifest="results/reports/{artifact}.json",
    log:
        "logs/write_report/{artifact}.log",
    wildcard_constraints:
        artifact=planned("reports"),
    """Write the report: one self-contained page."""
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.write_report --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --comparison {input.comparison} --facts {input.facts}"
        " >{log} 2>&1"
