"""The configuration files of a one-node Slurm that lives in one folder and listens on loopback.

Sources: slurm.conf(5), slurmdbd.conf(5), gres.conf(5) of Slurm 22.05 to 24.11; what each line is
for stands beside it.
"""

import os
import pwd
import socket
from dataclasses import dataclass
from pathlib import Path

CPUS = 16
MEMORY_MB = 256_000
GPUS = 2


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the four daemons that listen on one."""

    mariadb: int
    slurmdbd: int
    slurmctld: int
    slurmd: int


def free_ports() -> Ports:
    """Return four ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    try:
        return Ports(*(server.getsockname()[1] for server in sockets))
    finally:
        for server in sockets:
            server.close()


def user() -> str:
    """Return the name of the user that runs the tests: every daemon runs as them."""
    return pwd.getpwuid(os.getuid()).pw_name


def host() -> str:
    """Return the short name that Slurm knows this machine by."""
    return socket.gethostname().partition(".")[0]


def slurm_conf(folder: Path, ports: Ports) -> str:
    """Return slurm.conf: 16 pretended CPUs, 2 pretended GPUs, accounting, three partitions."""
    return f"""\
ClusterName=tunesmith
SlurmctldHost={host()}(127.0.0.1)
SlurmctldPort={ports.slurmctld}
SlurmdPort={ports.slurmd}
# Nothing listens beyond loopback: the node's own name resolves to it.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user()}
SlurmdUser={user()}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
# The node may claim more CPUs than the machine has, so that rules keep their own thread counts.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MinJobAge=300
KillWait=20
SchedulerParameters=bf_interval=2,sched_interval=2
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
# Without cgroups this is what ends a job that takes more memory than it asked for.
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports.slurmdbd}
# Here this names the socket of munge, not a password.
AccountingStoragePass={folder}/munge/socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
NodeName={host()} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:{GPUS}
PartitionName=cpu Nodes={host()} Default=YES PriorityTier=1 MaxTime=1-0
PartitionName=gpu Nodes={host()} PriorityTier=1 MaxTime=2-0
PartitionName=urgent Nodes={host()} PriorityTier=10 PreemptMode=OFF MaxTime=1-0
"""


def gres_conf() -> str:
    """Return gres.conf: terminals stand in for the cards; their allocation is real."""
    return f"NodeName={host()} Name=gpu File=/dev/tty[0-{GPUS - 1}]\n"


def slurmdbd_conf(folder: Path, ports: Ports, password: str) -> str:
    """Return slurmdbd.conf, which Slurm wants readable by its owner only."""
    return f"""\
DbdHost={host()}
DbdAddr=127.0.0.1
DbdPort={ports.slurmdbd}
CommunicationParameters=NoInAddrAny
SlurmUser={user()}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports.mariadb}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_accounting
"""
