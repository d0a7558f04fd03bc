"""A training of the tiny model as a program, for tests that start several processes or end one.

    python -m tests.tiny_training '{"model": ..., "shards": ..., "out": ..., "scratch": ...}'

`shards` is a list where the spec is of a mixture. `faults` are what happens to one process at the
beginning of a step: {"rank": 1, "step": 3, "kind": "kill"}, or of kind "memory", which does not
suffice for more sequences per pass than `fits`. A spec without `lora` trains all weights.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from accelerate.state import AcceleratorState, DistributedType, PartialState

from scripts.lib.errors import PipelineError
from scripts.lib.train import sharding, training
from scripts.lib.train.full_tuning import FullSpec, train_model
from scripts.lib.train.lora_tuning import train_adapter
from scripts.lib.train.spec import TrainSpec


class Faulty(training.Progress):
    """Shows progress, and brings the faults about."""

    faults = ()

    def on_step_begin(self, args, state, control, **_):
        for fault in self.faults:
            if (fault["rank"], fault["step"]) != (args.process_index, state.global_step):
                continue
            if fault["kind"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if args.per_device_train_batch_size > fault["fits"]:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")


def _share_out_on_a_cpu() -> None:
    """Let accelerate do with processes on a CPU what it does on GPUs: PyTorch's FSDP2 can."""
    begin = AcceleratorState.__init__

    def init(self, *arguments, **named):
        begin(self, *arguments, **named)
        if plugin := named.get("fsdp_plugin"):
            self.fsdp_plugin, self.distributed_type = plugin, DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init
    sharding.can_shard = lambda: True


def main() -> None:
    """Train, and write the facts into the folder `out`; each process fills one of its own in it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("told", type=json.loads)
    parser.add_argument("--halved", type=int, default=0)
    given = parser.parse_args()
    told = given.told
    rank = os.environ.get("RANK", "0")
    out = Path(told["out"]) / rank
    out.mkdir(parents=True, exist_ok=True)
    Faulty.faults = told.get("faults", [])
    training.Progress = Faulty
    if told.get("options", {}).get("fsdp"):
        _share_out_on_a_cpu()
    shards = told["shards"]
    several = [Path(one) for one in shards] if isinstance(shards, list) else Path(shards)
    adapter = "lora" in told["spec"]
    read, train = (TrainSpec, train_adapter) if adapter else (FullSpec, train_model)
    try:
        facts = train(
            read.from_json(told["spec"]),
            Path(told["model"]),
            several,
            out,
            scratch=Path(told["scratch"]),
            threads=1,
            halved=given.halved,
            **told.get("options", {}),
        )
    except PipelineError as error:
        sys.exit(f"tiny_training: {error}")
    if rank == "0":
        (Path(told["out"]) / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
