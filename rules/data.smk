"""From raw rows to token shards, and a look at them.

in   results/raw/, results/models/ (tokenizer and template)
out  results/{chat,shards,examples}/
"""


rule format_chat:
    """Turn one raw dataset into conversations, with a verdict for every row."""
    input:
        unpack(inputs("chat", "raw")),
    output:
        artifact=directory("results/chat/{artifact}"),
        manifest="results/chat/{artifact}.json",
    log:
        "logs/format_chat/{artifact}.log",
    threads: 4
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.format_chat --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --raw {input.raw}"
        " --threads {threads}"
        " >{log} 2>&1"


rule render_shards:
    """Render conversations with a model's template into token shards."""
    input:
        unpack(inputs("shards", "chat", "model")),
    output:
        artifact=directory("results/shards/{artifact}"),
        manifest="results/shards/{artifact}.json",
    log:
        "logs/render_shards/{artifact}.log",
    threads: 4
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.render_shards --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --chat {input.chat} --model {input.model}"
        " --threads {threads}"
        " >{log} 2>&1"


rule show_examples:
    """Show what is trained on: every token of a few conversations, and rows of each reason."""
    input:
        unpack(inputs("examples", "raw", "chat", "shards")),
    output:
        artifact=report(
            directory("results/examples/{artifact}"),
            patterns=["{page,index}.html"],
            caption="captions/examples.rst",
            category="What was trained on",
            labels=named("dataset and model"),
        ),
        manifest="results/examples/{artifact}.json",
    log:
        "logs/show_examples/{artifact}.log",
    localrule: True
    params:
        plan=PLAN_FILE,
    shell:
        "OMP_NUM_THREADS={threads} python -m scripts.show_examples --plan {params.plan}"
        " --artifact {output.artifact} --manifest {output.manifest}"
        " --raw {input.raw} --chat {input.chat} --shards {input.shards}"
        " >{log} 2>&1"
