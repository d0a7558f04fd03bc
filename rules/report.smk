"""Compare, report, and check the budget.

in   results/categories/, results/scores/ for the old layout, the manifests of all the rest
out  results/{comparisons,reports,budgets}/
"""


rule compare_runs:
    """Set every tuned model beside its base on the same questions."""
    input:
        unpack(inputs("comparisons")),
    output:
        artifact=report(
            directory("results/comparisons/{artifact}"),
            patterns=["comparison.{form}"],
            caption="captions/comparison.rst",
            category="The answer",
            labels={"what": "all figures, {form}"},
        ),
        manifest="results/comparisons/{artifact}.json",
    log:
        "logs/compare_runs/{artifact}.log",
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
        unpack(inputs("reports")),
    output:
        artifact=report(
            directory("results/reports/{artifact}"),
            patterns=["{page,index}.html"],
            caption="captions/page.rst",
            category="The answer",
            labels={"what": "the report"},
        ),
        manifest="results/reports/{artifact}.json",
    log:
        "logs/write_report/{artifact}.log",
    localrule: True
    threads: 2
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.write_report --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --threads {threads}"
        " >{log} 2>&1"


rule check_budget:
    """Fail where a tuned model does not keep the budget; the report stands by then."""
    input:
        unpack(inputs("budgets")),
    output:
        artifact=report(
            directory("results/budgets/{artifact}"),
            patterns=["{file,budget}.json"],
            caption="captions/budget.rst",
            category="The answer",
            labels={"what": "the budget"},
        ),
        manifest="results/budgets/{artifact}.json",
    log:
        "logs/check_budget/{artifact}.log",
    retries: 0
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.check_budget --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " 2>&1 | tee {log}"
