"""Bring models, datasets and benchmarks in: the only rules that use a network.

in   hub repositories at a commit, local files and folders
out  results/{models,raw,benchmarks}/
"""


rule fetch_model:
    """Bring one base model into results/."""
    input:
        after=after("models"),
    output:
        artifact=directory("results/models/{artifact}"),
        manifest="results/models/{artifact}.json",
    log:
        "logs/fetch_model/{artifact}.log",
    wildcard_constraints:
        artifact=planned("models"),
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.fetch_model --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " >{log} 2>&1"


rule fetch_dataset:
    """Bring one raw dataset into results/."""
    input:
        after=after("raw"),
    output:
        artifact=directory("results/raw/{artifact}"),
        manifest="results/raw/{artifact}.json",
    log:
        "logs/fetch_dataset/{artifact}.log",
    wildcard_constraints:
        artifact=planned("raw"),
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.fetch_dataset --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " >{log} 2>&1"


rule fetch_benchmark:
    """Bring the questions of one benchmark into results/."""
    input:
        after=after("benchmarks"),
    output:
        artifact=directory("results/benchmarks/{artifact}"),
        manifest="results/benchmarks/{artifact}.json",
    log:
        "logs/fetch_benchmark/{artifact}.log",
    wildcard_constraints:
        artifact=planned("benchmarks"),
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.fetch_benchmark --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " >{log} 2>&1"
