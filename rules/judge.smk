"""Judge what a base and a tuned model answered to the same prompts, in both orders.

in   results/{scores,benchmarks}/, results/models/ of a local judge
out  results/judgements/, results/remote_judgements/
"""


rule judge_pairs:
    """Let a local model judge the answers of one tuned model beside its base's."""
    input:
        unpack(inputs("judgements", "benchmark", "judge")),
    output:
        artifact=directory("results/judgements/{artifact}"),
        manifest="results/judgements/{artifact}.json",
    log:
        "logs/judge_pairs/{artifact}.log",
    threads: 4
    resources:
        gpu=1,
        score_batch=0,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.judge_pairs --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --benchmark {input.benchmark} --judge {input.judge}"
        " --threads {threads} --score-batch {resources.score_batch} --gpus {resources.gpu}"
        " >{log} 2>&1"


# Local: it waits for a service more than it computes, and compute nodes may have no network.
rule ask_judge:
    """Let a model behind a service judge the answers of one tuned model beside its base's."""
    input:
        unpack(inputs("remote_judgements", "benchmark")),
    output:
        artifact=directory("results/remote_judgements/{artifact}"),
        manifest="results/remote_judgements/{artifact}.json",
    log:
        "logs/ask_judge/{artifact}.log",
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.ask_judge --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --benchmark {input.benchmark}"
        " >{log} 2>&1"
