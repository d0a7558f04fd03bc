"""How much memory is free, and how much of it a job may fill."""

import pytest
import torch

from scripts.lib.machine.memory_limits import card_room, free_bytes, room_bytes

CPU = torch.device("cpu")
GB = 10**9


@pytest.mark.parametrize("total", [24 * GB, 80 * GB, 141 * GB])
def test_a_card_is_filled_to_three_quarters_weights_included(total):
    for weights in (0, GB, 16 * GB):
        room = card_room(total - weights, total)
        assert weights + room == pytest.approx(0.75 * total)


def test_weights_that_fill_a_card_leave_a_part_of_the_rest():
    for weights in (18 * GB, 23 * GB):
        assert card_room(24 * GB - weights, 24 * GB) == (24 * GB - weights) // 4


def test_what_the_allocator_holds_and_nothing_uses_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 16 * GB)
    assert free_bytes(torch.device("cuda")) == 64 * GB
    assert room_bytes(torch.device("cuda")) == 44 * GB


def test_a_processor_is_shared_with_other_jobs():
    assert 0 < room_bytes(CPU) <= free_bytes(CPU) / 2


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
