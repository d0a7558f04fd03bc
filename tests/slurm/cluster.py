"""A real one-node Slurm with accounting, for tests: everything in one folder, all on loopback.

Nothing is installed here; the daemons are the distribution's (Debian: slurmctld slurmd slurmdbd
slurm-client munge mariadb-server). Every process is started by this module and ended by its id.

Try it: python -m tests.slurm.cluster FOLDER, then SLURM_CONF=FOLDER/slurm.conf sinfo elsewhere.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.slurm import settings

NEEDED = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch")
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
START_SECONDS = 60


def missing_programs() -> list[str]:
    """Return which of the programs that a cluster needs are not installed."""
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    return [name for name in NEEDED if shutil.which(name, path=path) is None]


class Cluster:
    """One running Slurm; its daemons can be ended and started one by one."""

    def __init__(self, folder: Path) -> None:
        """Write the configuration into *folder*; start nothing."""
        self.folder = folder.resolve()
        self.ports = settings.free_ports()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._password = secrets.token_hex(16)
        self.env: Mapping[str, str] = {
            **os.environ,
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}:{SBIN}",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }
        self._configure()

    def _configure(self) -> None:
        for name in ("munge", "state", "spool", "db", "bin"):
            (self.folder / name).mkdir(parents=True)
        os.chmod(self.folder, 0o755)  # munged wants to trust every folder above its socket
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        # The executor's job steps drop nearly all SLURM_ variables. A site has its slurm.conf in
        # /etc; here srun is told each time.
        srun = self.folder / "bin" / "srun"
        srun.write_text(
            f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n'
        )
        srun.chmod(0o755)
        (self.folder / "slurm.conf").write_text(settings.slurm_conf(self.folder, self.ports))
        (self.folder / "gres.conf").write_text(settings.gres_conf())
        dbd = self.folder / "slurmdbd.conf"
        dbd.write_text(settings.slurmdbd_conf(self.folder, self.ports, self._password))
        dbd.chmod(0o600)

    def start(self) -> None:
        """Start the daemons in the order in which they need each other, and wait for the node."""
        self._start_munge()
        self._start_database()
        self.start_daemon("slurmdbd")
        self.wait("slurmdbd", lambda: self.ok("sacctmgr", "-n", "list", "cluster"))
        self.start_daemon("slurmctld")
        self.wait("slurmctld", lambda: self.ok("scontrol", "ping"))
        self.start_daemon("slurmd")
        self.wait("the node", lambda: "idle" in self.run("sinfo", "-h", "-o", "%T"))
        # Accounts first, users after: a user must name an account that is there.
        self.run("sacctmgr", "-i", "add", "account", "default", check=False)
        self.run("sacctmgr", "-i", "add", "user", settings.user(), "account=default", check=False)

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        folder.chmod(0o755)
        self._popen(
            "munged",
            "--foreground",
            f"--socket={folder}/socket",
            f"--key-file={folder}/key",
            f"--log-file={folder}/log",
            f"--pid-file={folder}/pid",
            f"--seed-file={folder}/seed",
        )
        self.wait("munged", (folder / "socket").exists)

    def _start_database(self) -> None:
        data = self.folder / "db"
        self._call(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={data}",
            f"--user={settings.user()}",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        )
        grants = self.folder / "grants.sql"
        grants.write_text(
            "CREATE DATABASE slurm_accounting;\n"
            f"CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{self._password}';\n"
            f"CREATE USER 'slurm'@'localhost' IDENTIFIED BY '{self._password}';\n"
            "GRANT ALL ON slurm_accounting.* TO 'slurm'@'127.0.0.1';\n"
            "GRANT ALL ON slurm_accounting.* TO 'slurm'@'localhost';\n"
        )
        grants.chmod(0o600)
        self._popen(
            "mariadbd",
            "--no-defaults",
            f"--datadir={data}",
            f"--user={settings.user()}",
            f"--socket={self.folder}/db.socket",
            f"--port={self.ports.mariadb}",
            "--bind-address=127.0.0.1",
            f"--init-file={grants}",
            "--innodb-buffer-pool-size=16M",
        )
        self.wait("mariadbd", (self.folder / "db.socket").exists)

    def start_daemon(self, name: str) -> None:
        """Start one of slurmdbd, slurmctld, slurmd."""
        self._popen(name, "-D", *(["-N", settings.host()] if name == "slurmd" else []))

    def stop_daemon(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one daemon by its id and wait for it."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
            return
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Cancel all jobs and end every process that this cluster started."""
        with contextlib.suppress(Exception):
            for job in self.run("squeue", "-h", "-o", "%i", check=False).split():
                self.run("scancel", job, check=False)
            self.wait("jobs to end", lambda: not self.run("squeue", "-h"), seconds=30)
        for name in ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.stop_daemon(name)
        for process in self._steps():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _steps(self) -> list[int]:
        """Return the processes that still run under this cluster: they carry its SLURM_CONF."""
        mark = f"SLURM_CONF={self.env['SLURM_CONF']}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                variables = (process / "environ").read_bytes().split(b"\0")
                if mark in variables and b"SLURM_JOB_ID" in b" ".join(variables):
                    found.append(int(process.name))
        return [process for process in found if process != os.getpid()]

    def run(self, *command: str, check: bool = True) -> str:
        """Run a Slurm command and return what it printed, without the last line's end."""
        result = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        if check and result.returncode:
            raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
        return result.stdout.strip()

    def ok(self, *command: str) -> bool:
        """Tell whether a Slurm command succeeds."""
        result = subprocess.run(command, env=self.env, capture_output=True, timeout=60, check=False)
        return result.returncode == 0

    def sacct(self, *fields: str) -> list[dict[str, str]]:
        """Return what accounting knows of every job, a dict of *fields* each."""
        out = self.run(
            "sacct", "-n", "-P", "-X", "-D", "-a", "-S", "now-1day", "-o", ",".join(fields)
        )
        return [dict(zip(fields, line.split("|"), strict=True)) for line in out.splitlines()]

    def wait(self, what: str, true: Callable[[], object], seconds: float = START_SECONDS) -> None:
        """Wait until *true* returns something true.

        Raises:
            TimeoutError: naming *what* was waited for, with the ends of the daemons' logs.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if true():
                return
            time.sleep(0.2)
        logs = [
            f"{log.name}: {' / '.join(log.read_text(errors='replace').splitlines()[-4:])}"
            for log in sorted(self.folder.glob("*.log"))
        ]
        raise TimeoutError(f"waited {seconds:.0f} s for {what}; {'; '.join(logs)}")

    def _popen(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self._processes[name] = subprocess.Popen(
                [name, *arguments], env=self.env, stdout=out, stderr=out, start_new_session=True
            )

    def _call(self, *command: str) -> None:
        """Run one command to its end.

        Raises:
            RuntimeError: with the end of what it printed.
        """
        result = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=120, check=False
        )
        if result.returncode:
            said = "\n".join((result.stdout + result.stderr).splitlines()[-15:])
            raise RuntimeError(f"{command[0]} failed with {result.returncode}:\n{said}")


if __name__ == "__main__":
    cluster = Cluster(Path(sys.argv[1]))
    try:
        cluster.start()
        print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        cluster.stop()
