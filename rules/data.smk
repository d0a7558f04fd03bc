"""From raw rows to token shards.

in   results/raw/, results/models/ (tokenizer and template)
out  results/{chat,shards}/
"""


rule format_chat:
    """Turn one raw dataset into conversations, with a verdict for every row."""
    input:
        raw=reads("chat", "raw"),
        after=after("chat"),
    output:
        artifact=directory("results/chat/{artifact}"),
        manifest="results/chat/{artifact}.json",
    log:
        "logs/format_chat/{artifact}.log",
    wildcard_constraints:
        artifact=planned("chat"),
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.format_chat --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --raw {input.raw}"
        " >{log} 2>&1"


rule render_shards:
    """Render conversations with a model's template into token shards."""
    input:
        chat=reads("shards", "chat"),
        model=reads("shards", "model"),
        after=after("shards"),
    output:
        artifact=directory("results/shards/{artifact}"),
        manifest="results/shards/{artifact}.json",
    log:
        "logs/render_shards/{artifact}.log",
    wildcard_constraints:
        artifact=planned("shards"),
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.render_shards --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --chat {input.chat} --model {input.model}"
        " >{log} 2>&1"
