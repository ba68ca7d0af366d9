"""How ranks find each other under torchrun, deepspeed and srun, and who is named when one does not come.

torchrun and deepspeed announce RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; under srun they follow from Slurm's variables.
"""

import re
import socket
import time
from collections.abc import Iterator, MutableMapping
from datetime import timedelta

import torch.distributed as dist

from pipeline.contracts.errors import ConfigError, StageError

WAIT_S = 300.0  # for all ranks to report; PASSERBY_RENDEZVOUS_S changes it
PORTS = range(20000, 30000)


def adopt_slurm(environment: MutableMapping[str, str]) -> None:
    """Under `srun` with several tasks, and nothing announced yet, announce what the Slurm variables say."""
    if "WORLD_SIZE" in environment or int(environment.get("SLURM_NTASKS", "1")) < 2 or "SLURM_PROCID" not in environment:
        return
    environment["WORLD_SIZE"] = environment["SLURM_NTASKS"]
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["LOCAL_RANK"] = environment.get("SLURM_LOCALID", "0")
    environment.setdefault("MASTER_ADDR", hosts(environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"])[0])
    environment.setdefault("MASTER_PORT", str(PORTS.start + int(environment.get("SLURM_JOB_ID", "0")) % len(PORTS)))


def hosts(nodelist: str) -> list[str]:
    """ "a,b[1-2,07-08]" -> a, b1, b2, b07, b08. Raises ConfigError for what is no list of nodes."""
    if not re.fullmatch(r"(?:[\w.-]+(?:\[[\d,-]+\])?)(?:,[\w.-]+(?:\[[\d,-]+\])?)*", nodelist):
        raise ConfigError(f"SLURM_JOB_NODELIST={nodelist!r} is no list of nodes; set MASTER_ADDR to the name of the first one")
    return [name for prefix, ranges in re.findall(r"([\w.-]+)(?:\[([\d,-]+)\])?", nodelist) for name in _expanded(prefix, ranges)]


def _expanded(prefix: str, ranges: str) -> Iterator[str]:
    if not ranges:
        yield prefix
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        yield from (f"{prefix}{number:0{len(first)}d}" for number in range(int(first), int(last or first) + 1))


def join(backend: str, environment: MutableMapping[str, str]) -> None:
    """Start the process group of the announced ranks. Raises StageError naming who does not answer."""
    rank, world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    wait_s = float(environment.get("PASSERBY_RENDEZVOUS_S", WAIT_S))
    store = open_store(rank, world, wait_s, environment)
    roll_call(store, rank, world, wait_s, environment)
    dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=world)


def open_store(rank: int, world: int, wait_s: float, environment: MutableMapping[str, str]) -> dist.Store:
    """The store that torchrun keeps, else one on the first rank. Raises StageError if it cannot be reached."""
    address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    is_host = rank == 0 and environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        return dist.TCPStore(address, port, world, is_host, timedelta(seconds=wait_s), wait_for_workers=False)
    except (RuntimeError, ValueError) as err:
        raise StageError(
            f"rank {rank} on {socket.gethostname()} cannot reach the first rank at {address}:{port} within {wait_s:g} s ({err}); "
            f"check that node and its firewall, or set MASTER_ADDR and MASTER_PORT"
        ) from err


def roll_call(store: dist.Store, rank: int, world: int, wait_s: float, environment: MutableMapping[str, str]) -> None:
    """Every rank reports; the first names those that do not, and tells the others to go."""
    store.set(f"here/{rank}", socket.gethostname())
    if rank:
        try:
            store.wait(["roll"], timedelta(seconds=2 * wait_s))
        except RuntimeError as err:
            raise StageError(f"rank {rank} on {socket.gethostname()}: the first rank never called the roll ({err})") from err
        if verdict := store.get("roll").decode():
            raise StageError(verdict)
        return
    deadline = time.monotonic() + wait_s
    absent = list(range(1, world))
    while absent and time.monotonic() < deadline:
        absent = [number for number in absent if not store.check([f"here/{number}"])]
        time.sleep(0.05)
    verdict = (
        f"no answer within {wait_s:g} s from {', '.join(_named(absent, environment))}; check those nodes, then start again"
        if absent
        else ""
    )
    store.set("roll", verdict)
    if absent:
        raise StageError(verdict)


def _named(ranks: list[int], environment: MutableMapping[str, str]) -> list[str]:
    """With the node, where Slurm tells how many tasks each has, such as SLURM_TASKS_PER_NODE=2(x3),1."""
    counts = re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_TASKS_PER_NODE", ""))
    per_node = [int(count) for count, times in counts for _ in range(int(times or 1))]
    nodes = hosts(environment["SLURM_JOB_NODELIST"]) if "SLURM_JOB_NODELIST" in environment else []
    where = [node for node, count in zip(nodes, per_node, strict=False) for _ in range(count)]
    return [f"rank {r} on {where[r]}" if r < len(where) else f"rank {r}" for r in ranks]
