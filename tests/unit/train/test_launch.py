"""How a training program is started."""

from scripts.lib.train.launch import launcher, slurm_ranks

TASK = {
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "123456",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7",
}


def test_one_gpu_or_none_is_one_process():
    assert launcher(0, 1) == launcher(1, 1) == "python"


def test_several_gpus_on_one_node_are_as_many_processes():
    assert launcher(4, 1).endswith("--nproc-per-node=4")


def test_several_tasks_are_a_step_that_dies_as_one():
    command = launcher(8, 8).split()
    assert command[0] == "srun" and command[-1] == "python"
    assert {"--ntasks=8", "--kill-on-bad-exit=1"} <= set(command)


def test_a_task_of_several_knows_its_place_and_where_to_meet():
    ranks = slurm_ranks(TASK)
    assert (ranks["RANK"], ranks["LOCAL_RANK"], ranks["WORLD_SIZE"]) == ("3", "1", "4")
    assert ranks["MASTER_ADDR"] == "10.0.0.7"
    assert 1024 < int(ranks["MASTER_PORT"]) < 65536


def test_tasks_of_one_job_meet_at_one_port_and_other_jobs_at_another():
    first = slurm_ranks({**TASK, "SLURM_PROCID": "0"})
    assert first["MASTER_PORT"] == slurm_ranks(TASK)["MASTER_PORT"]
    other = slurm_ranks({**TASK, "SLURM_JOB_ID": "123457"})
    assert other["MASTER_PORT"] != first["MASTER_PORT"]


def test_a_single_task_and_what_torchrun_started_are_left_alone():
    assert slurm_ranks({**TASK, "SLURM_NTASKS": "1"}) == {}
    assert slurm_ranks({**TASK, "RANK": "0"}) == {}
    assert slurm_ranks({}) == {}
