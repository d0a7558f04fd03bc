"""Score every candidate on every benchmark.

in   results/{models,adapters,combined,merged,trained,benchmarks}/
out  results/scores/ by question, results/categories/ by category
"""


# How many subjects go into a job is decided while planning, by `subjects_per_job` and
# `jobs_per_benchmark` among the resources that a profile or --set-resources gives this rule.
rule score_benchmark:
    """Score one candidate on missing subjects of a benchmark; each is kept once it is done."""
    input:
        unpack(inputs("batches", "model", "benchmark")),
    output:
        batch="results/batches/{artifact}.json",
    log:
        "logs/score_benchmark/{artifact}.log",
    threads: 4
    resources:
        gpu=1,
        score_batch=0,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.score_benchmark --plan {params.plan}"
        " --batch {output.batch}"
        " --model {input.model} --benchmark {input.benchmark}"
        " --threads {threads} --score-batch {resources.score_batch} --gpus {resources.gpu}"
        " >{log} 2>&1"


rule aggregate_scores:
    """Sum up the scores of one candidate by category."""
    input:
        unpack(inputs("categories")),
    output:
        artifact=directory("results/categories/{artifact}"),
        manifest="results/categories/{artifact}.json",
    log:
        "logs/aggregate_scores/{artifact}.log",
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.aggregate_scores --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " >{log} 2>&1"
