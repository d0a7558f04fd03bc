"""Combine adapters, merge adapters into their bases, prove the result; look at finished checkpoints.

in   results/{models,adapters}/
out  results/{combined,merged,proofs,changes}/
"""


rule combine_adapters:
    """Combine the adapters of several runs into one."""
    input:
        unpack(inputs("combined", "model")),
    output:
        artifact=directory("results/combined/{artifact}"),
        manifest="results/combined/{artifact}.json",
    log:
        "logs/combine_adapters/{artifact}.log",
    threads: 2
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.combine_adapters --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --model {input.model}"
        " --threads {threads}"
        " >{log} 2>&1"


rule merge_adapter:
    """Merge one adapter into its base model."""
    input:
        unpack(inputs("merged", "model", "adapter")),
    output:
        artifact=directory("results/merged/{artifact}"),
        manifest="results/merged/{artifact}.json",
    log:
        "logs/merge_adapter/{artifact}.log",
    threads: 2
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.merge_adapter --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --model {input.model} --adapter {input.adapter}"
        " --threads {threads}"
        " >{log} 2>&1"


rule prove_merge:
    """Prove that the merged model computes what base and adapter do."""
    input:
        unpack(inputs("proofs", "model", "adapter", "merged")),
    output:
        artifact=report(
            directory("results/proofs/{artifact}"),
            patterns=["{file,proof}.json"],
            caption="captions/proof.rst",
            category="Merged models",
            labels=named("model"),
        ),
        manifest="results/proofs/{artifact}.json",
    log:
        "logs/prove_merge/{artifact}.log",
    threads: 2
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.prove_merge --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --model {input.model} --adapter {input.adapter} --merged {input.merged}"
        " --threads {threads}"
        " >{log} 2>&1"


rule compare_weights:
    """Say how a finished checkpoint differs from its base."""
    input:
        unpack(inputs("changes", "model", "checkpoint")),
    output:
        artifact=directory("results/changes/{artifact}"),
        manifest="results/changes/{artifact}.json",
    log:
        "logs/compare_weights/{artifact}.log",
    threads: 2
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.compare_weights --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --model {input.model} --checkpoint {input.checkpoint}"
        " --threads {threads}"
        " >{log} 2>&1"
