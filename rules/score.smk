"""Score every candidate on every benchmark.

in   results/{models,adapters,combined,merged,benchmarks}/
out  results/scores/ by question, results/categories/ by category
"""


rule score_benchmark:
    """Score one candidate on a set of subjects."""
    input:
        model=reads("scores", "model"),
        adapter=reads("scores", "adapter"),
        benchmark=reads("scores", "benchmark"),
        after=after("scores"),
    output:
        artifact=directory("results/scores/{artifact}"),
        manifest="results/scores/{artifact}.json",
    log:
        "logs/score_benchmark/{artifact}.log",
    wildcard_constraints:
        artifact=planned("scores"),
    threads: 4
    resources:
        gpu=1,
        score_batch=16,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.score_benchmark --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --model {input.model} --benchmark {input.benchmark}"
        " --threads {threads} --score-batch {resources.score_batch} --gpus {resources.gpu}"
        " >{log} 2>&1"


rule aggregate_scores:
    """Sum up the scores of one candidate by category."""
    input:
        scores=reads("categories", "scores"),
        after=after("categories"),
    output:
        artifact=directory("results/categories/{artifact}"),
        manifest="results/categories/{artifact}.json",
    log:
        "logs/aggregate_scores/{artifact}.log",
    wildcard_constraints:
        artifact=planned("categories"),
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.aggregate_scores --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " >{log} 2>&1"
