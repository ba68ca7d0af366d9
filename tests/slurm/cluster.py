"""A real Slurm on this machine for tests: munged, slurmctld and several slurmd, each in namespaces of its own, all state in one folder.

Reusable beyond generation: `Cluster` knows nothing of passerby. Needs root (namespaces, bind mounts) and Debian's slurmctld, slurmd,
slurm-client and munge. A node is killed for real by killing the init of its process namespace.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipeline.children import die_with_parent

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo", "munged", "unshare")
NODE_SCRIPT = """#!/bin/bash
# node.sh ROOT NAME: one virtual node in its own uts, process and mount namespace
mount --bind "$1/hosts" /etc/hosts
hostname "$2"
export SLURM_CONF="$1/slurm.conf"
exec slurmd -D -c -N "$2" -f "$1/slurm.conf"
"""


def why_not() -> str | None:
    """The reason why no cluster can be started here, None if one can."""
    if os.geteuid() != 0:
        return "a private Slurm needs root for its virtual nodes"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"Slurm is not installed ({', '.join(missing)}); apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"
    probe = subprocess.run(["unshare", "--uts", "--pid", "--mount", "--fork", "true"], capture_output=True, text=True, check=False)
    return None if probe.returncode == 0 else f"no namespaces here: {probe.stderr.strip()}"


@dataclass
class Cluster:
    """settings: lines of slurm.conf that replace or follow ours, e.g. {"MaxArraySize": "4"}."""

    root: Path
    num_nodes: int = 3
    cpus: int = 4
    settings: dict[str, str] = field(default_factory=dict)
    _nodes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _daemons: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """For processes that are to speak with this cluster."""
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
        return {**inherited, "SLURM_CONF": str(self.root / "slurm.conf"), "PATH": path}

    @property
    def names(self) -> list[str]:
        return [f"n{i + 1}" for i in range(self.num_nodes)]

    def start(self) -> None:
        """Returns when all nodes are idle. Raises RuntimeError with the logs if they do not come up."""
        for name in ("run", "log", "state", "munge"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "munge").chmod(0o700)
        key = self.root / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        (self.root / "slurm.conf").write_text(self._conf())
        (self.root / "node.sh").write_text(NODE_SCRIPT)
        (self.root / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{_address(i)} {n}\n" for i, n in enumerate(self.names)))
        try:
            self._start_daemons()
            for name in self.names:
                self.start_node(name)
            wait_for(lambda: self.states() == dict.fromkeys(self.names, "idle"), 60, "idle nodes")
        except BaseException as err:
            logs = "\n".join(f"{p.name}: {p.read_text(errors='replace')[-2000:]}" for p in sorted((self.root / "log").glob("*.log")))
            self.stop()
            raise RuntimeError(f"Slurm did not start: {err}\n{logs}") from err

    def stop(self) -> None:
        for node in self._nodes.values():
            node.kill()  # unshare takes its namespace along
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for process in (*self._nodes.values(), *self._daemons):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._nodes.clear()
        self._daemons.clear()

    def start_node(self, name: str) -> None:
        isolate = ["unshare", "--uts", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
        self._nodes[name] = self._spawn([*isolate, "bash", str(self.root / "node.sh"), str(self.root), name])

    def kill_node(self, name: str) -> None:
        """As if its power were cut: slurmd and all jobs on it end at once, nobody is told."""
        node = self._nodes.pop(name)
        node.send_signal(signal.SIGKILL)
        node.wait()

    def states(self) -> dict[str, str]:
        """Node -> idle, allocated, down ..."""
        lines = self.command("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return {name: state.rstrip("*~#") for name, state in (line.split() for line in lines)}

    def command(self, *argv: str) -> str:
        done = subprocess.run(list(argv), env=self.env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr}")
        return done.stdout

    def queue(self) -> list[list[str]]:
        """[id of array, index, state, reason, node] of every task that waits or runs."""
        text = self.command("squeue", "--noheader", "--array", "--format=%F|%K|%T|%r|%N")
        return [line.split("|") for line in text.splitlines()]

    def _start_daemons(self) -> None:
        socket_, key, log = self.root / "run" / "munge.sock", self.root / "munge" / "key", self.root / "log"
        munged = [
            *("munged", "--foreground", "--force", f"--socket={socket_}", f"--key-file={key}", f"--log-file={log / 'munged.log'}"),
            *(f"--pid-file={self.root / 'run' / 'munged.pid'}", f"--seed-file={self.root / 'munge' / 'seed'}", "--num-threads=2"),
        ]
        self._daemons.append(self._spawn(munged))
        wait_for(socket_.exists, 20, "munged")
        controller = ["slurmctld", "-D", "-c", "-f", str(self.root / "slurm.conf")]
        self._daemons.append(self._spawn(controller))

    def _spawn(self, argv: list[str]) -> "subprocess.Popen[bytes]":
        """A daemon that goes when this process goes, however that ends."""
        leash = partial(die_with_parent, os.getpid())
        quiet = subprocess.DEVNULL
        return subprocess.Popen(argv, env=self.env, start_new_session=True, preexec_fn=leash, stdin=quiet, stdout=quiet, stderr=quiet)

    def _conf(self) -> str:
        host, user = socket.gethostname().split(".")[0], pwd.getpwuid(os.geteuid()).pw_name
        port = _free_port()
        lines = {
            "ClusterName": "test",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmUser": user,
            "SlurmdUser": user,
            "SlurmctldPort": str(port),
            "AuthType": "auth/munge",
            "CredType": "cred/munge",
            # below 5 the default of 120 s would hold, and every requeue would wait that long
            "AuthInfo": f"socket={self.root}/run/munge.sock,cred_expire=5",
            "StateSaveLocation": f"{self.root}/state",
            "SlurmdSpoolDir": f"{self.root}/spool.%n",
            "SlurmctldPidFile": f"{self.root}/run/slurmctld.pid",
            "SlurmdPidFile": f"{self.root}/run/slurmd.%n.pid",
            "SlurmctldLogFile": f"{self.root}/log/slurmctld.log",
            "SlurmdLogFile": f"{self.root}/log/slurmd.%n.log",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": "task=1",
            "JobAcctGatherParams": "OverMemoryKill",  # without cgroups the only one to enforce --mem; ends in OUT_OF_MEMORY as well
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU_Memory",
            "DefMemPerNode": "1300",  # with the CUDA build of torch a process takes 280 MB more than with the one for CPUs
            "SlurmdParameters": "config_overrides",  # more CPUs than the machine has
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1",
            "AccountingStorageType": "accounting_storage/none",
            "MpiDefault": "none",
            "SwitchType": "switch/none",
            "ReturnToService": "2",
            "SlurmctldTimeout": "30",
            "SlurmdTimeout": "10",
            "InactiveLimit": "0",
            "MinJobAge": "600",
            "KillWait": "5",
            "MessageTimeout": "20",
            "JobRequeue": "1",
            "SlurmctldDebug": "info",
            "SlurmdDebug": "info",
        } | self.settings
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        for i, name in enumerate(self.names):
            text += f"NodeName={name} NodeHostname={name} NodeAddr={_address(i)} Port={port + 1 + i} CPUs={self.cpus} RealMemory=6000\n"
        nodes = ",".join(self.names)
        text += f"PartitionName=main Nodes={nodes} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5\n"
        text += f"PartitionName=cheap Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL GraceTime=0\n"
        text += f"PartitionName=urgent Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF\n"
        return text


def wait_for(condition: Callable[[], object], timeout_s: float, what: str | Callable[[], str]) -> None:
    """Raises TimeoutError naming `what` if the condition does not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what if isinstance(what, str) else what()}")
        time.sleep(0.1)


def _address(index: int) -> str:
    return f"127.0.0.{11 + index}"


def _free_port() -> int:
    """The first of a few ports in a row that are free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
