"""The stages of the workflow: folder, rule, libraries, sharing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.lib.artifacts.store import Publishing


@dataclass(frozen=True)
class Stage:
    """One stage: a folder under results/, the rule (and program) that fills it.

    Attributes:
        name: Folder under results/, and first part of an artifact's id.
        rule: Name of the Snakemake rule and of the program scripts/<rule>.py.
        libraries: Those whose versions decide the bytes; they enter the key.
        publishing: What a shared cache gets.
        edge_libraries: Edge -> libraries that decide bytes too where an artifact has that edge.
        template_libraries: Name of a chat template -> libraries that decide bytes too with it.
        kind_libraries: Kind of benchmark -> libraries that decide bytes too for that kind.
        batched_by: Field of the spec in which artifacts may differ that one job makes together;
            None where each has a job of its own.
    """

    name: str
    rule: str
    libraries: tuple[str, ...]
    publishing: Publishing = "files"
    edge_libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    template_libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kind_libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    batched_by: str | None = None


JUDGING_LIBRARIES = (
    "antlr4-python3-runtime",
    "evaluate",
    "immutabledict",
    "langdetect",
    "latex2sympy2-extended",
    "math-verify",
    "nltk",
    "numpy",
    "rouge-score",
    "sacrebleu",
    "scikit-learn",
    "sympy",
)
"""What tasks of lm-eval judge with: their own code and its metrics import these."""


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "models", "fetch_model", ("gguf", "safetensors", "tokenizers", "torch", "transformers")
        ),
        Stage("raw", "fetch_dataset", ("datasets", "pyarrow")),
        Stage(
            "benchmarks",
            "fetch_benchmark",
            ("datasets", "pandas", "pyarrow"),
            kind_libraries={"lm_eval": ("lm-eval",)},
        ),
        Stage("chat", "format_chat", ("pyarrow",)),
        Stage(
            "contamination",
            "find_contamination",
            ("numpy", "pyarrow"),
            kind_libraries={"lm_eval": ("datasets", "jinja2", "lm-eval")},
        ),
        Stage("decontaminated", "drop_contaminated", ("pyarrow",)),
        Stage(
            "shards",
            "render_shards",
            ("jinja2", "pyarrow", "tokenizers", "transformers"),
            template_libraries={"trl": ("trl",)},
        ),
        Stage(
            "examples",
            "show_examples",
            ("jinja2", "markupsafe", "pyarrow", "tokenizers", "transformers"),
        ),
        Stage(
            "given_adapters",
            "fetch_adapter",
            ("jinja2", "peft", "safetensors", "tokenizers", "torch", "transformers"),
        ),
        Stage(
            "adapters",
            "train_adapter",
            ("accelerate", "datasets", "peft", "safetensors", "torch", "transformers", "trl"),
        ),
        Stage(
            "trained",
            "train_model",
            (
                *("accelerate", "datasets", "jinja2", "peft", "safetensors", "tokenizers"),
                *("torch", "transformers", "trl"),
            ),
            publishing="manifest",
        ),
        Stage("combined", "combine_adapters", ("peft", "safetensors", "torch", "transformers")),
        Stage(
            "merged",
            "merge_adapter",
            ("jinja2", "peft", "safetensors", "tokenizers", "torch", "transformers"),
            publishing="manifest",
        ),
        Stage(
            "proofs",
            "prove_merge",
            ("jinja2", "peft", "safetensors", "tokenizers", "torch", "transformers"),
        ),
        Stage("changes", "compare_weights", ("torch",)),
        Stage(
            "scores",
            "score_benchmark",
            ("datasets", "jinja2", "lm-eval", "pyarrow", "tokenizers", "torch", "transformers"),
            edge_libraries={"adapter": ("peft", "safetensors")},
            kind_libraries={"lm_eval": JUDGING_LIBRARIES},
            batched_by="subject",
        ),
        Stage(
            "judgements",
            "judge_pairs",
            ("jinja2", "lm-eval", "pyarrow", "tokenizers", "torch", "transformers"),
        ),
        Stage("remote_judgements", "ask_judge", ("pyarrow",)),
        Stage(
            "categories",
            "aggregate_scores",
            ("pyarrow",),
            kind_libraries={"judged_pairs": ("numpy", "scipy")},
        ),
        Stage(
            "comparisons",
            "compare_runs",
            ("numpy", "pyarrow", "scipy"),
            publishing="no",
        ),
        Stage(
            "reports",
            "write_report",
            ("jinja2", "markupsafe", "matplotlib", "numpy", "pyarrow", "scipy"),
            publishing="no",
            edge_libraries={"tasks": ("datasets", "lm-eval")},
        ),
        Stage("budgets", "check_budget", (), publishing="no"),
    )
}
"""Every stage by name, in the order of the pipeline."""


FETCHED = tuple(stage.name for stage in STAGES.values() if stage.rule.startswith("fetch_"))
"""Stages that bring something in from outside."""


def libraries_of(stage: str, spec: Mapping[str, Any], edges: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the libraries whose versions decide the bytes of an artifact.

    A fetched local folder is copied byte for byte and a model of a hub is downloaded as it is, so
    no library has a say; only dequantising and converting do. A user's own questions are read.
    The tasks of lm-eval are what its version makes of their names.
    """
    copied = spec.get("source") in ("path", "hub") if stage == "models" else False
    if stage in ("raw", "benchmarks") and spec.get("source") == "path":
        copied = spec.get("kind") != "multiple_choice"
    if copied:
        return ()
    own = STAGES[stage]
    more = [name for edge in edges for name in own.edge_libraries.get(edge, ())]
    more += own.kind_libraries.get(str(spec.get("kind")), ())
    more += own.template_libraries.get(str(spec.get("template")), ())
    return tuple(sorted({*own.libraries, *more}))
