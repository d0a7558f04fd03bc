"""The benchmarks for a GPU run their whole path with a tiny model; without a GPU they say so."""

import json

import pytest
import torch

from scripts.lib.errors import TrainingError
from scripts.lib.machine.cuda_driver import DEVICE_VARIABLE
from scripts.lib.train.model_size import size_of
from scripts.lib.train.sharding import weights_in
from scripts.tools import bench_gpu_score, bench_gpu_train
from scripts.tools.bench_gpu_train import Took
from scripts.tools.bench_score import OURS, Tally
from scripts.tools.devices import rounds_within
from scripts.tools.made_texts import MMLU, SHOTS, make_subject
from scripts.tools.stand_in import TINY, build, make_folder, product_weights, tell_sizes
from scripts.tools.training_contestants import Clock, Course
from tests.tiny_model import make_tiny_model


@pytest.fixture
def tokenizer_folder(tmp_path, monkeypatch):
    """A tiny model's folder; benchmarks publish below tmp_path and find no real data."""
    monkeypatch.delenv("TUNESMITH_REAL_DATA", raising=False)
    monkeypatch.setenv(DEVICE_VARIABLE, "cpu")
    monkeypatch.chdir(tmp_path)
    return make_tiny_model(tmp_path / "tokenizer")


def published(tmp_path, name: str) -> dict[str, float]:
    document = json.loads((tmp_path / f"results/bench/{name}.json").read_text())
    assert torch.__version__ in document["machine"]
    return {figure["name"]: figure["value"] for figure in document["figures"]}


@pytest.mark.parametrize("benchmark", [bench_gpu_score, bench_gpu_train])
def test_without_a_gpu_the_command_ends_and_says_what_can_be_had(benchmark, tokenizer_folder):
    with pytest.raises(SystemExit, match=r"for a GPU.*TINY=1") as ended:
        benchmark.main([])
    assert ended.value.code not in (0, None)


def test_scoring_publishes_every_figure_and_agrees_with_lm_eval(tokenizer_folder, tmp_path):
    bench_gpu_score.main(["--tiny", "--model", str(tokenizer_folder)])
    figures = published(tmp_path, "gpu-score-tiny")
    assert figures["agreement_gpu"] == 1.0
    assert figures["max_logprob_diff_gpu"] < 1e-4
    ours, bound = (
        figures["questions_per_second_gpu"],
        figures["flop_bound_questions_per_second_gpu"],
    )
    assert figures["share_of_flop_bound_gpu"] == pytest.approx(ours / bound)
    best = max(value for name, value in figures.items() if name.startswith("lm_eval_batch_"))
    assert figures["speedup_gpu"] == pytest.approx(ours / best)
    assert (
        figures["full_mmlu_minutes_gpu"]
        > sum(MMLU[name].questions for name in ("management", "world_religions")) / ours / 60
    )
    assert figures["peak_gib_gpu"] > 0


# TRL left as it comes names its own option by its old name.
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_training_publishes_every_figure_at_both_lengths(tokenizer_folder, tmp_path):
    bench_gpu_train.main(["--tiny", "--model", str(tokenizer_folder)])
    figures = published(tmp_path, "gpu-train-tiny")
    for end in ("", "_256"):
        for prefix in ("", "trl_default_", "trl_packed_"):
            for name in ("tokens_per_second_gpu", "tflops_gpu", "peak_gib_gpu"):
                assert figures[f"{prefix}{name}{end}"] > 0
        # The same rows in the same steps: of a loss of six nats only rounding is left.
        assert abs(figures[f"loss_gap_gpu{end}"]) < 1e-2
        assert figures[f"speedup_gpu_vs_trl_packed{end}"] > 0


def test_all_find_the_sizes_that_a_stored_model_would_have(tokenizer_folder, tmp_path, monkeypatch):
    """By them ours chooses on a GPU what is recomputed: without, all of it would be."""
    told = []

    def look(stand, course, work):
        told.append(size_of(tuple(map(str, stand.model.iterdir()))))
        raise torch.OutOfMemoryError("seen enough")

    monkeypatch.setattr(bench_gpu_train, "contestants", lambda: {"ours": look})
    bench_gpu_train.main(["--tiny", "--model", str(tokenizer_folder)])
    folder = make_folder(tokenizer_folder, tmp_path / "model", TINY)
    tell_sizes(folder, torch.bfloat16)
    model = build(folder, torch.float32, "cpu")
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert told and all(size is not None and size.tensors == shapes for size in told)
    assert weights_in(folder) == model.num_parameters()


def test_the_tokens_of_a_step_that_lacked_memory_do_not_count_twice():
    Clock.restart()
    clock = Clock()
    clock.on_step_begin()
    Clock.batches[-1].append(7)  # and memory runs out
    clock.on_step_begin()
    Clock.batches[-1].append(5)
    clock.on_step_end()
    assert Clock.batches == [[5]] and len(Clock.walls) == 1
    Clock.restart()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), TrainingError("memory ran out with 1 sequence")]
)
def test_who_runs_out_of_memory_is_left_out_and_another_error_is_told(error):
    def train(told):
        def short(*_):
            raise told

        return bench_gpu_train.train("ours", short, None, Course())

    assert train(error) is None
    with pytest.raises(TrainingError, match="no rows"):
        train(TrainingError("no rows"))


def test_who_runs_out_of_memory_in_one_round_has_no_figure():
    took = Took(100.0, (6.0, 5.0), 1.0)
    both = {("ours", 64): took, ("trl", 64): took}
    figures = bench_gpu_train.figures_of([both, {("ours", 64): took}], [64], flop=2.0)
    names = {figure.name for figure in figures}
    assert "tokens_per_second_gpu" in names
    assert not any("trl" in name for name in names)


def test_a_batch_of_lm_eval_that_ran_out_of_memory_is_left_out_and_all_of_them_are_an_error():
    def tally(seconds: float) -> Tally:
        return Tally(
            {"anatomy": 10}, {"anatomy": seconds}, {"anatomy": seconds}, 1.0, {"q": [0.0, 1.0]}
        )

    rounds = [
        {"hf@8": tally(4.0), "hf@64": tally(1.0), OURS: tally(1.0)},
        {"hf@8": tally(2.0), OURS: tally(3.0)},
    ]
    found = bench_gpu_score.median_of(rounds)
    assert set(found) == {"hf@8", OURS}
    figures = {
        f.name: f.value for f in bench_gpu_score.figures_of(found, {"anatomy": 135}, bound=1.0)
    }
    assert figures["speedup_gpu"] == pytest.approx(3.0 / 2.0)
    with pytest.raises(SystemExit, match="memory"):
        bench_gpu_score.figures_of({OURS: tally(1.0)}, {"anatomy": 135}, bound=1.0)


def test_rounds_stop_before_the_time_is_over_and_there_is_one_at_least():
    assert rounds_within(0.0, lambda: 1) == [1]
    assert 1 <= len(rounds_within(0.02, lambda: torch.zeros(1).add(1))) < 10**6


def test_made_up_subjects_are_as_long_as_the_real_ones_and_always_the_same(tmp_path):
    for folder in (tmp_path / "one", tmp_path / "other"):
        make_subject(folder, "professional_law")
    first, second = (
        (tmp_path / name / "test/professional_law.jsonl").read_text() for name in ("one", "other")
    )
    assert first == second
    rows = [json.loads(line) for line in first.splitlines()]
    shape = MMLU["professional_law"]
    assert len(rows) == shape.questions
    words = [len(" ".join([row["question"], *row["choices"]]).split()) for row in rows]
    assert sum(words) / len(words) == pytest.approx(shape.words, rel=0.05)
    assert len((tmp_path / "one/dev/professional_law.jsonl").read_text().splitlines()) == SHOTS
    assert sum(shape.questions for shape in MMLU.values()) == 14_042
    assert len(MMLU) == 57


def test_a_stand_in_is_the_same_model_each_time_and_counts_what_multiplies(
    tokenizer_folder, tmp_path
):
    folder = make_folder(tokenizer_folder, tmp_path / "model", TINY)
    one, other = (build(folder, torch.float32, "cpu") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert one.config.vocab_size == TINY["vocab_size"]
    embedding = one.get_input_embeddings().weight
    assert product_weights(one) == sum(p.numel() for p in one.parameters()) - embedding.numel()
