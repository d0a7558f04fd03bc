"""Combine adapters, merge adapters into their bases, and prove the result.

in   results/{models,adapters}/
out  results/{combined,merged,proofs}/
"""


rule combine_adapters:
    """Combine the adapters of several runs into one."""
    input:
        model=reads("combined", "model"),
        adapters=reads("combined", "adapters"),
        after=after("combined"),
    output:
        artifact=directory("results/combined/{artifact}"),
        manifest="results/combined/{artifact}.json",
    log:
        "logs/combine_adapters/{artifact}.log",
    wildcard_constraints:
        artifact=planned("combined"),
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
        model=reads("merged", "model"),
        adapter=reads("merged", "adapter"),
        after=after("merged"),
    output:
        artifact=directory("results/merged/{artifact}"),
        manifest="results/merged/{artifact}.json",
    log:
        "logs/merge_adapter/{artifact}.log",
    wildcard_constraints:
        artifact=planned("merged"),
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
        model=reads("proofs", "model"),
        adapter=reads("proofs", "adapter"),
        merged=reads("proofs", "merged"),
        after=after("proofs"),
    output:
        artifact=directory("results/proofs/{artifact}"),
        manifest="results/proofs/{artifact}.json",
    log:
        "logs/prove_merge/{artifact}.log",
    wildcard_constraints:
        artifact=planned("proofs"),
    threads: 2
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.prove_merge --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --model {input.model} --adapter {input.adapter} --merged {input.merged}"
        " --threads {threads}"
        " >{log} 2>&1"
