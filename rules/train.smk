"""Fine-tune.

in   results/{models,shards}/
out  results/{adapters,trained}/
"""


# The program takes the place of the shell: a shell would die of the signal that asks for a checkpoint,
# and Slurm would not wait for the rest.
rule train_adapter:
    """Fine-tune one LoRA adapter on rendered shards."""
    input:
        unpack(inputs("adapters", "model", "shards")),
    output:
        artifact=directory("results/adapters/{artifact}"),
        manifest="results/adapters/{artifact}.json",
    log:
        "logs/train_adapter/{artifact}.log",
    threads: 8
    resources:
        gpu=1,
        micro_batch=0,
        fsdp=0,
        runtime=lambda wildcards, attempt: 360 * attempt,
    params:
        plan=PLAN_FILE,
        launcher=lambda wildcards, resources: launcher(
            resources.gpu, resources.get("tasks", 1), resources.get("nodes", 1)
        ),
        gpus=lambda wildcards, resources: resources.gpu // resources.get("nodes", 1),
    shell:
        "OMP_NUM_THREADS={threads} exec {params.launcher} scripts.train_adapter --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --model {input.model} --shards {input.shards}"
        " --threads {threads} --micro-batch {resources.micro_batch} --fsdp {resources.fsdp} --gpus {params.gpus}"
        " >{log} 2>&1"


rule train_model:
    """Fine-tune all weights of a model on rendered shards."""
    input:
        unpack(inputs("trained", "model", "shards")),
    output:
        artifact=directory("results/trained/{artifact}"),
        manifest="results/trained/{artifact}.json",
    log:
        "logs/train_model/{artifact}.log",
    threads: 8
    resources:
        gpu=1,
        micro_batch=0,
        fsdp=0,
        runtime=lambda wildcards, attempt: 360 * attempt,
    params:
        plan=PLAN_FILE,
        launcher=lambda wildcards, resources: launcher(
            resources.gpu, resources.get("tasks", 1), resources.get("nodes", 1)
        ),
        gpus=lambda wildcards, resources: resources.gpu // resources.get("nodes", 1),
    shell:
        "OMP_NUM_THREADS={threads} exec {params.launcher} scripts.train_model --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --model {input.model} --shards {input.shards}"
        " --threads {threads} --micro-batch {resources.micro_batch} --fsdp {resources.fsdp} --gpus {params.gpus}"
        " >{log} 2>&1"
