"""Compare and report.

in   results/{scores,categories}/, the manifests of all the rest
out  results/{comparisons,reports}/
"""


rule compare_runs:
    """Set every tuned model beside its base on the same questions."""
    input:
        scores=reads("comparisons", "scores"),
        categories=reads("comparisons", "categories"),
        chain=knows("comparisons", "chain"),
        after=after("comparisons"),
    output:
        artifact=directory("results/comparisons/{artifact}"),
        manifest="results/comparisons/{artifact}.json",
    log:
        "logs/compare_runs/{artifact}.log",
    wildcard_constraints:
        artifact=planned("comparisons"),
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.compare_runs --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " >{log} 2>&1"


rule write_report:
    """Write the report: one self-contained page."""
    input:
        comparison=reads("reports", "comparison"),
        facts=knows("reports", "facts"),
        after=after("reports"),
    output:
        artifact=directory("results/reports/{artifact}"),
        manifest="results/reports/{artifact}.json",
    log:
        "logs/write_report/{artifact}.log",
    wildcard_constraints:
        artifact=planned("reports"),
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.write_report --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " >{log} 2>&1"
