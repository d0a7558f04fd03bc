"""Questions of benchmarks in training rows.

in   results/chat/, results/benchmarks/
out  results/contamination/, results/decontaminated/ where a run drops what was found
"""


rule find_contamination:
    """Find the questions of one benchmark in the conversations of one dataset."""
    input:
        unpack(inputs("contamination", "chat", "benchmark")),
    output:
        artifact=directory("results/contamination/{artifact}"),
        manifest="results/contamination/{artifact}.json",
    log:
        "logs/find_contamination/{artifact}.log",
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.find_contamination --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --chat {input.chat} --benchmark {input.benchmark}"
        " >{log} 2>&1"


rule drop_contaminated:
    """Leave out the training conversations that hold a question of a benchmark."""
    input:
        unpack(inputs("decontaminated", "chat")),
    output:
        artifact=directory("results/decontaminated/{artifact}"),
        manifest="results/decontaminated/{artifact}.json",
    log:
        "logs/drop_contaminated/{artifact}.log",
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.drop_contaminated --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --chat {input.chat}"
        " >{log} 2>&1"
