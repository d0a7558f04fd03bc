"""How a training program is started: as one process, on several GPUs, or on several nodes."""

from collections.abc import Mapping


def launcher(gpus: int, tasks: int) -> str:
    """Return what stands before `-m scripts.train_adapter`.

    Args:
        gpus: GPUs of the job (the resource `gpu`).
        tasks: Slurm tasks of the job (the resource `tasks`): one process each, spread over the
            nodes as sbatch was told. 1 means that no step of its own is started.
    """
    if tasks > 1:
        return f"srun --ntasks={tasks} --kill-on-bad-exit=1 python"
    if gpus > 1:
        return f"python -m torch.distributed.run --standalone --nproc-per-node={gpus}"
    return "python"


def slurm_ranks(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that torch.distributed reads, for one task of several of a Slurm step.

    Rank 0 is on the node where srun was called, so its address is the meeting point; the port
    follows from the job's number, so that two jobs on one node do not meet.

    Source: srun(1), "output environment variables"; accelerate and torch read the names returned.
    """
    world = int(environ.get("SLURM_NTASKS", "1"))
    if "RANK" in environ or world == 1 or "SLURM_PROCID" not in environ:
        return {}
    return {
        "RANK": environ["SLURM_PROCID"],
        "LOCAL_RANK": environ["SLURM_LOCALID"],
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": environ["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": str(20_000 + int(environ["SLURM_JOB_ID"]) % 20_000),
    }
