"""What programs load: tiny real jobs of each have no heavy library in memory that they do not need.

A job is one of dozens, and each library here costs it between a tenth of a second and seconds.
`make bench-start` tells how long each program takes to start.
"""

import pytest

from scripts.lib.artifacts.stages import STAGES
from scripts.tools.bench_start import World, judging_service

NOBODY = {"evaluate", "nltk", "rouge_score", "sacrebleu", "sklearn", "pydantic", "snakemake"}
"""What planning and lm-eval's metrics load; no job here needs them."""

TRAINING = {"trl", "wandb", "tensorboard"}
STATISTICS = {"scipy.optimize", "scipy.stats"}
MODELS = {"torch", "transformers", "accelerate", "peft", "tokenizers", "safetensors"}
TABLES = {"pandas", "datasets", "pyarrow.dataset"}
PLAIN = NOBODY | TRAINING | MODELS | TABLES | {"lm_eval", "matplotlib"}
"""What a program does without that computes with no model."""

BESIDE_A_MODEL = NOBODY | {"matplotlib", "scipy.stats"}

FORBIDDEN = {
    "fetch_model": PLAIN | STATISTICS,
    "fetch_adapter": BESIDE_A_MODEL | TABLES | TRAINING | {"lm_eval"},
    "fetch_dataset": PLAIN | STATISTICS,
    "fetch_benchmark": PLAIN | STATISTICS,
    "format_chat": PLAIN | STATISTICS,
    "find_contamination": PLAIN | STATISTICS,
    "drop_contaminated": PLAIN | STATISTICS,
    "render_shards": BESIDE_A_MODEL | STATISTICS | TABLES | TRAINING | {"peft", "lm_eval"},
    "show_examples": (PLAIN | STATISTICS) - {"tokenizers"},
    "train_adapter": BESIDE_A_MODEL | {"wandb", "tensorboard", "lm_eval"},
    "train_model": BESIDE_A_MODEL | {"wandb", "tensorboard", "lm_eval"},
    "combine_adapters": BESIDE_A_MODEL | TABLES | TRAINING | {"lm_eval"},
    "merge_adapter": BESIDE_A_MODEL | STATISTICS | TABLES | TRAINING | {"peft", "lm_eval"},
    "prove_merge": BESIDE_A_MODEL | TABLES | TRAINING | {"lm_eval"},
    "compare_weights": (PLAIN | STATISTICS) - {"torch"},
    # lm-eval's task class, which builds the prompts, imports datasets, and that pandas; the module
    # of its metrics imports sacrebleu.
    "score_benchmark": (BESIDE_A_MODEL - {"sacrebleu"}) | TRAINING | {"peft"},
    "judge_pairs": BESIDE_A_MODEL | TABLES | TRAINING | {"peft", "lm_eval.api.task"},
    "ask_judge": PLAIN | STATISTICS,
    # The interval of a win rate, of judged pairs only, needs `scipy.optimize`.
    "aggregate_scores": PLAIN | {"scipy.stats"},
    # So does the interval of a difference between right and wrong answers.
    "compare_runs": PLAIN | {"scipy.stats"},
    "check_budget": PLAIN | STATISTICS | {"scipy"},
    "write_report": (PLAIN | STATISTICS | {"scipy"}) - {"matplotlib"},
}
"""Program -> modules that its job must not have loaded."""


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Make all of a tiny project, and return what each program's jobs loaded."""
    with judging_service() as judge:
        return World(tmp_path_factory.mktemp("start"), judge).make()


@pytest.mark.e2e
@pytest.mark.parametrize("rule", FORBIDDEN)
def test_a_program_loads_no_library_that_its_run_does_not_need(started, rule):
    for job in started[rule]:
        assert not FORBIDDEN[rule] & job.modules


def test_every_program_has_its_list():
    assert set(FORBIDDEN) == {stage.rule for stage in STAGES.values()}
