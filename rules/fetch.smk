"""Bring models, adapters, datasets and benchmarks in: the only rules that use a network.

in   hub repositories at a commit, local files and folders
out  results/{models,given_adapters,raw,benchmarks}/

snakemake --profile local prefetch   all that the config names, and nothing else
"""


rule fetch_model:
    """Bring one base model into results/."""
    input:
        unpack(inputs("models")),
    output:
        artifact=directory("results/models/{artifact}"),
        manifest="results/models/{artifact}.json",
    log:
        "logs/fetch_model/{artifact}.log",
    localrule: is_local("fetch_model")
    params:
        plan=PLAN_FILE,
        network=NETWORK,
    shell:
        "{params.network} OMP_NUM_THREADS={threads} python -m scripts.fetch_model --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " >{log} 2>&1"


rule fetch_adapter:
    """Bring one adapter that exists already into results/."""
    input:
        unpack(inputs("given_adapters", "model")),
    output:
        artifact=directory("results/given_adapters/{artifact}"),
        manifest="results/given_adapters/{artifact}.json",
    log:
        "logs/fetch_adapter/{artifact}.log",
    localrule: is_local("fetch_adapter")
    params:
        plan=PLAN_FILE,
        network=NETWORK,
    shell:
        "{params.network} OMP_NUM_THREADS={threads} python -m scripts.fetch_adapter --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --model {input.model}"
        " >{log} 2>&1"


rule fetch_dataset:
    """Bring one raw dataset into results/."""
    input:
        unpack(inputs("raw")),
    output:
        artifact=directory("results/raw/{artifact}"),
        manifest="results/raw/{artifact}.json",
    log:
        "logs/fetch_dataset/{artifact}.log",
    localrule: is_local("fetch_dataset")
    params:
        plan=PLAN_FILE,
        network=NETWORK,
    shell:
        "{params.network} OMP_NUM_THREADS={threads} python -m scripts.fetch_dataset --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " >{log} 2>&1"


rule fetch_benchmark:
    """Bring the questions of one benchmark into results/."""
    input:
        unpack(inputs("benchmarks")),
    output:
        artifact=directory("results/benchmarks/{artifact}"),
        manifest="results/benchmarks/{artifact}.json",
    log:
        "logs/fetch_benchmark/{artifact}.log",
    localrule: is_local("fetch_benchmark")
    params:
        plan=PLAN_FILE,
        network=NETWORK,
    shell:
        "{params.network} OMP_NUM_THREADS={threads} python -m scripts.fetch_benchmark --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " >{log} 2>&1"


rule prefetch:
    """Fetch all that the config names, and print sizes and pins. Never part of `all`."""
    input:
        prefetched(),
    log:
        "logs/prefetch.log",
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "python -m scripts.prefetch --plan {params.plan} 2>&1 | tee {log}"
