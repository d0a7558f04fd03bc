"""How much is read at once, from the memory that is free."""

import itertools

import pytest
import torch
from transformers import Gemma3nTextConfig, LlamaConfig

from scripts.lib.machine.memory_limits import Limits, free_bytes, limits_of

CPU = torch.device("cpu")
GIB = 2**30


def limits(free, *, device=CPU, number_bytes=4, **sizes):
    return limits_of(LlamaConfig(**sizes), device, number_bytes, free=free)


def test_less_memory_means_less_at_once_and_none_still_means_one():
    found = [limits(free) for free in (0, GIB // 8, GIB, 64 * GIB)]
    assert found[0] == Limits(1, 1)
    for few, more in itertools.pairwise(found):
        assert few.tokens <= more.tokens and few.scored <= more.scored
    assert found[1].tokens < found[2].tokens
    assert found[1].scored < found[2].scored


def test_a_wider_model_and_wider_numbers_leave_room_for_fewer_tokens():
    here = limits(GIB // 2)
    assert limits(GIB // 2, hidden_size=8192).tokens < here.tokens
    assert limits(GIB // 2, number_bytes=2).tokens > here.tokens
    assert limits(GIB // 2, vocab_size=1_000_000).scored < here.scored


def test_the_widest_of_layers_that_differ_in_width_counts():
    def found(widths):
        config = Gemma3nTextConfig(
            hidden_size=64, num_hidden_layers=2, intermediate_size=widths, layer_types=None
        )
        return limits_of(config, CPU, 4, free=GIB // 64)

    assert found([64, 8192]) == found([8192, 8192]) != found([64, 64])


def test_a_gpu_takes_more_at_once_than_a_processor_gains_from():
    device = torch.device("cuda")
    assert limits(64 * GIB, device=device).tokens > limits(64 * GIB).tokens


def test_halving_ends_at_one():
    assert Limits(5, 1).halved() == Limits(2, 1)
    assert Limits(1, 1).halved() == Limits(1, 1)


@pytest.mark.parametrize(
    ("line", "inner", "files"),
    [
        ("0::/job/step\n", "job", ("memory.max", "memory.current")),
        (
            "4:memory:/job/step\n0::/\n",
            "memory/job",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ),
    ],
)
def test_what_a_cluster_gives_to_the_job_is_the_limit(tmp_path, line, inner, files):
    memberships = tmp_path / "cgroup"
    memberships.write_text(line)
    unlimited = free_bytes(CPU, memberships=memberships, groups=tmp_path)
    # The limit is set above the step that the process is in.
    folder = tmp_path / inner
    (folder / "step").mkdir(parents=True)
    (folder / "step" / files[0]).write_text("max\n")
    (folder / "step" / files[1]).write_text("900\n")
    (folder / files[0]).write_text("1000\n")
    (folder / files[1]).write_text("900\n")
    assert free_bytes(CPU, memberships=memberships, groups=tmp_path) == 100 < unlimited


@pytest.mark.parametrize(
    ("line", "inner", "files", "name"),
    [
        ("0::/job\n", "job", ("memory.max", "memory.current"), "inactive_file"),
        (
            "4:memory:/job\n",
            "memory/job",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            "total_inactive_file",
        ),
    ],
)
def test_files_that_were_read_do_not_count_as_used(tmp_path, line, inner, files, name):
    """Loading weights fills a job's group with what the kernel gives back when it is needed."""
    memberships = tmp_path / "cgroup"
    memberships.write_text(line)
    folder = tmp_path / inner
    folder.mkdir(parents=True)
    (folder / files[0]).write_text("1000\n")
    (folder / files[1]).write_text("990\n")
    (folder / "memory.stat").write_text(f"anon 90\nactive_file 100\n{name} 800\n")
    assert free_bytes(CPU, memberships=memberships, groups=tmp_path) == 810
