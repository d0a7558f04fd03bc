"""How a training program is started, as one process or several, and how their end is told."""

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from scripts.lib.jobs.launch import launcher, process_count, step
from scripts.lib.jobs.node import meeting_point, status_of, words_of
from scripts.lib.train.micro_batch import OUT_OF_MEMORY, threads_of_each

TASK = {"SLURM_NODEID": "1", "SLURM_JOB_ID": "123456", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7"}


def test_one_gpu_or_none_is_one_process():
    assert launcher(0, 1, 1) == launcher(1, 1, 1) == "python -m"


def test_there_is_one_process_for_each_gpu_or_each_task_whatever_is_more():
    assert process_count(8, 2) == process_count(8, 8) == 8
    assert process_count(0, 2) == process_count(1, 2) == 2


def test_several_gpus_are_shared_out_to_the_nodes():
    assert launcher(4, 1, 1).endswith("--nodes 1 --processes 4")
    assert launcher(8, 2, 2).endswith("--nodes 2 --processes 4")


def test_several_nodes_are_a_step_with_one_task_each_that_dies_as_one():
    command = step(2, 4, 0)
    assert command[0] == "srun"
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1"} < set(command)
    assert "srun" not in step(1, 4, 0)


def option(options, name):
    (found,) = [word.partition("=")[2] for word in options if word.startswith(f"--{name}=")]
    return found


def test_a_task_of_several_knows_its_place_and_where_to_meet():
    options = meeting_point(2, 0, TASK)
    assert (option(options, "node-rank"), option(options, "nnodes")) == ("1", "2")
    assert option(options, "master-addr") == "10.0.0.7"
    assert 1024 < int(option(options, "master-port")) < 65536


def test_nodes_of_one_start_meet_at_one_port_and_other_starts_and_jobs_at_others():
    first = option(meeting_point(2, 0, {**TASK, "SLURM_NODEID": "0"}), "master-port")
    assert first == option(meeting_point(2, 0, TASK), "master-port")
    again = option(meeting_point(2, 1, TASK), "master-port")
    other = option(meeting_point(2, 0, {**TASK, "SLURM_JOB_ID": "123457"}), "master-port")
    assert len({first, again, other}) == 3


def failures(codes):
    return {
        rank: ProcessFailure(local_rank=rank, pid=1, exitcode=code, error_file="none")
        for rank, code in codes.items()
    }


def test_memory_that_ran_out_in_one_process_is_told_whatever_became_of_the_others():
    assert status_of(failures({0: 1, 1: OUT_OF_MEMORY})) == OUT_OF_MEMORY
    assert status_of(failures({0: 1, 1: -9})) == 1


def test_the_status_of_memory_is_the_highest_that_a_step_can_end_with():
    assert 128 + 64 < OUT_OF_MEMORY < 256


def test_a_lost_process_is_named_and_not_those_that_failed_because_of_it():
    (said,) = words_of(failures({0: 1, 1: -9}))
    assert "process 1 " in said and "SIGKILL" in said and "checkpoint" in said
    assert len(words_of(failures({0: 1, 1: 3}))) == 2


@pytest.mark.parametrize(("threads", "processes", "each"), [(8, 4, 2), (8, 1, 8), (2, 4, 1)])
def test_processes_of_a_node_share_its_threads(monkeypatch, threads, processes, each):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert threads_of_each(threads) == each
