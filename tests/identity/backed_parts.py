"""Parts of identity that cannot be missed alone, as another part backs or tells them."""

from tests.identity.mutants import Part

SINGLE_QUESTIONS: tuple[Part, ...] = (
    ("reports", "spec", "candidates"),
    ("reports", "edge", "comparison"),
    ("reports", "edge", "facts"),
    ("reports", "spec", "questions"),
    *(
        ("reports", "edge", edge)
        for edge in ("scores", "categories", "searches", "questions", "tasks")
    ),
)
"""What of a report follows from the scores that its comparison sums up."""

WITH: dict[Part, tuple[Part, ...]] = {
    # The same value stands in the shards' key, which is an input.
    ("adapters", "spec", "training.max_length_tokens"): (("shards", "spec", "max_length_tokens"),),
    # Raw rows and conversations come in through the shards, which pin all that showing them does.
    ("examples", "edge", "raw"): (("chat", "edge", "raw"),),
    ("examples", "edge", "chat"): (("shards", "edge", "chat"),),
    ("examples", "pins", ""): (("shards", "pins", ""),),
    # The same for a model that is trained as a whole.
    ("trained", "spec", "training.max_length_tokens"): (("shards", "spec", "max_length_tokens"),),
    ("trained", "edge", "model"): (("shards", "edge", "model"),),
    ("trained", "spec", "training.evaluate_on"): (("trained", "edge", "evaluation"),),
    # Base and adapter also come in through what was made of them.
    ("adapters", "edge", "model"): (("shards", "edge", "model"),),
    # What a model card says is in the keys of what it speaks of.
    ("merged", "spec", "card"): (
        ("merged", "edge", "adapter"),
        ("merged", "edge", "model"),
    ),
    ("merged", "edge", "model"): (("adapters", "edge", "model"), ("shards", "edge", "model")),
    ("combined", "edge", "model"): (
        ("adapters", "edge", "model"),
        ("shards", "edge", "model"),
    ),
    ("proofs", "edge", "model"): (
        ("merged", "edge", "model"),
        ("adapters", "edge", "model"),
        ("shards", "edge", "model"),
    ),
    ("proofs", "edge", "adapter"): (("merged", "edge", "adapter"),),
    # Training pins all that merging does, and more.
    ("combined", "pins", ""): (("adapters", "pins", ""),),
    ("merged", "pins", ""): (("adapters", "pins", ""),),
    ("proofs", "pins", ""): (("adapters", "pins", ""),),
    # The column of the solved questions' category is that of the questions' own, if they have it.
    ("benchmarks", "spec", "category"): (("benchmarks", "spec", "shots_category"),),
    ("benchmarks", "spec", "shots_category"): (("benchmarks", "spec", "files"),),
    # A folder that stands in for the hub shows in its files.
    ("benchmarks", "spec", "data"): (("benchmarks", "spec", "files"),),
    # A pattern goes with one metric only.
    ("categories", "spec", "metric.pattern"): (("categories", "spec", "metric.name"),),
    # Ranks are shared out by one start only.
    ("adapters", "spec", "lora.target_parameters"): (("adapters", "spec", "lora.dropout"),),
    ("adapters", "spec", "double_quantization"): (("adapters", "spec", "quantization"),),
    ("adapters", "spec", "lora.eva_rho"): (("adapters", "spec", "lora.init"),),
    # Both answers follow from the prompts, and the run's from the base that is tuned.
    ("judgements", "edge", "benchmark"): (
        ("judgements", "edge", "base"),
        ("judgements", "edge", "run"),
    ),
    ("judgements", "edge", "base"): (("judgements", "edge", "run"),),
    ("judgements", "spec", "dtype"): (
        ("judgements", "edge", "base"),
        ("judgements", "edge", "run"),
    ),
    ("judgements", "pins", ""): (("scores", "pins", ""),),
    ("remote_judgements", "edge", "benchmark"): (
        ("remote_judgements", "edge", "base"),
        ("remote_judgements", "edge", "run"),
    ),
    ("remote_judgements", "edge", "base"): (("remote_judgements", "edge", "run"),),
    ("remote_judgements", "pins", ""): (("scores", "pins", ""),),
    # The order of judged benchmarks is that of what sums them up, too.
    ("comparisons", "spec", "judged"): (
        ("comparisons", "edge", "categories"),
        ("comparisons", "edge", "chain"),
        ("comparisons", "spec", "candidates"),
    ),
    # The names of the inputs, with their keys, stand in the spec of the comparison and the report.
    ("comparisons", "edge", "categories"): (("comparisons", "spec", "candidates"),),
    ("comparisons", "edge", "searches"): (("comparisons", "spec", "candidates"),),
    ("reports", "edge", "facts"): (
        ("reports", "spec", "candidates"),
        ("reports", "edge", "comparison"),
    ),
    ("reports", "edge", "examples"): (("reports", "spec", "candidates"),),
    # So do the keys of what single questions are read from, which the comparison sums up.
    **{
        part: tuple(one for one in SINGLE_QUESTIONS if one != part) for part in SINGLE_QUESTIONS[3:]
    },
    # The names of the sets that a run is measured on go with their shards.
    ("adapters", "spec", "training.evaluate_on"): (("adapters", "edge", "evaluation"),),
    **{
        (stage, "spec", "training.best_by"): (
            (stage, "spec", "training.keep"),
            (stage, "spec", "training.evaluate_on"),
            (stage, "edge", "evaluation"),
        )
        for stage in ("adapters", "trained")
    },
    ("adapters", "spec", "training.loraplus_lr_embedding"): (
        ("adapters", "spec", "training.loraplus_lr_ratio"),
    ),
    # What was searched was formatted, and what was found stands in what is left.
    ("decontaminated", "edge", "chat"): (("decontaminated", "edge", "searches"),),
    ("decontaminated", "pins", ""): (("chat", "pins", ""), ("contamination", "pins", "")),
    # The order of benchmarks is that of the scores, too.
    ("comparisons", "spec", "benchmarks"): (
        ("comparisons", "edge", "searches"),
        ("comparisons", "edge", "categories"),
        ("comparisons", "edge", "chain"),
    ),
    ("comparisons", "spec", "held_out"): (
        ("comparisons", "edge", "categories"),
        ("comparisons", "edge", "chain"),
    ),
}
"""Parts that another part backs: only the two together can be missed, and are left out together."""

TOLD_BY_OTHERS = {
    ("models", "spec", "source"): "each source has fields of its own",
    ("raw", "spec", "source"): "each source has fields of its own",
    ("benchmarks", "spec", "source"): "each source has fields of its own",
    ("benchmarks", "spec", "kind"): "each kind has file names of its own",
    ("categories", "spec", "kind"): "the keys of the scores tell their kind",
    ("categories", "spec", "metric"): "the benchmark's kind tells whether there is one",
    ("categories", "spec", "subjects"): "the scores that are summed up are of these subjects",
    ("scores", "spec", "kind"): "the benchmark's key tells its kind",
    ("contamination", "spec", "kind"): "the benchmark's key tells its kind",
}
"""Fields that follow from others: no two specs differ in one of them alone."""
