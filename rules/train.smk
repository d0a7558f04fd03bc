"""Fine-tune.

in   results/{models,shards}/
out  results/adapters/
"""


rule train_adapter:
    """Fine-tune one LoRA adapter on rendered shards."""
    input:
        model=reads("adapters", "model"),
        shards=reads("adapters", "shards"),
        after=after("adapters"),
    output:
        artifact=directory("results/adapters/{artifact}"),
        manifest="results/adapters/{artifact}.json",
    log:
        "logs/train_adapter/{artifact}.log",
    wildcard_constraints:
        artifact=planned("adapters"),
    threads: 8
    resources:
        gpu=1,
        micro_batch=0,
        runtime=lambda wildcards, attempt: 360 * attempt,
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.train_adapter --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --model {input.model} --shards {input.shards}"
        " --threads {threads} --micro-batch {resources.micro_batch}"
        " >{log} 2>&1"
