"""How ranks find each other under torchrun, deepspeed and srun, and who is named when one does not come.

torchrun and deepspeed announce RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; under srun they follow from Slurm's variables.
"""

import json
import logging
import re
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from pipeline.contracts.errors import StageError
from pipeline.nodelist import hosts

WAIT_S = 300.0  # for all ranks to report; PASSERBY_RENDEZVOUS_S changes it
SILENCE_S = 3600.0  # a rank that says nothing for so long has hung; others wait this long while the first one validates
PORTS = range(20000, 30000)


def adopt_slurm(environment: MutableMapping[str, str]) -> None:
    """Under `srun` with several tasks, and nothing announced yet, announce what the Slurm variables say.

    A batch script has most of these variables too, but no step: what it starts without srun is one process.
    """
    if "WORLD_SIZE" in environment or "SLURM_STEP_ID" not in environment or int(environment.get("SLURM_NTASKS", "1")) < 2:
        return
    environment["WORLD_SIZE"] = environment["SLURM_NTASKS"]
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["LOCAL_RANK"] = environment.get("SLURM_LOCALID", "0")
    environment.setdefault("MASTER_ADDR", _nodes(environment)[0])
    environment.setdefault("MASTER_PORT", str(PORTS.start + int(environment.get("SLURM_JOB_ID", "0")) % len(PORTS)))


def join(backend: str, environment: MutableMapping[str, str]) -> None:
    """Start the process group of the announced ranks. Raises StageError naming who does not answer or differs from the first."""
    rank, world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    wait_s = float(environment.get("PASSERBY_RENDEZVOUS_S", WAIT_S))
    store = open_store(rank, world, wait_s, environment)
    start = roll_call(store, rank, world, wait_s, environment, {"backend": backend, "torch": torch.__version__})
    prefixed = dist.PrefixStore("group", start)
    dist.init_process_group(backend, store=prefixed, rank=rank, world_size=world, timeout=timedelta(seconds=SILENCE_S))
    if rank:
        logging.disable(logging.INFO)  # the first rank reports, the others warn


def open_store(rank: int, world: int, wait_s: float, environment: MutableMapping[str, str]) -> dist.Store:
    """The store that torchrun keeps, else one on the first rank. Raises StageError if it cannot be opened or reached."""
    address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    is_host = rank == 0 and environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        return dist.TCPStore(address, port, world, is_host, timedelta(seconds=wait_s), wait_for_workers=False)
    except (RuntimeError, ValueError) as err:
        if is_host:
            raise StageError(f"the first rank cannot listen on {address}:{port} ({err}); set MASTER_PORT to a free one") from err
        raise StageError(
            f"rank {rank} on {socket.gethostname()} cannot reach the first rank at {address}:{port} within {wait_s:g} s ({err}); "
            f"check that node and its firewall, or set MASTER_ADDR and MASTER_PORT"
        ) from err


def roll_call(
    store: dist.Store, rank: int, world: int, wait_s: float, environment: MutableMapping[str, str], facts: dict[str, str] | None = None
) -> dist.Store:
    """Every rank reports with `facts`; the first names those that do not, or that differ from itself, and tells the others to go.

    Returns the part of `store` that is of this start alone. torchrun keeps a store over its restarts, and its agents do not count them
    alike, so every rank draws a word: the first answers to the word of another with its own, which names the part.
    """
    own = facts or {}
    if rank:
        return _answer_the_roll(store, rank, wait_s, {"node": socket.gethostname(), **own})
    word = uuid.uuid4().hex
    start = dist.PrefixStore(f"start/{word}", store)
    absent = _call_out(store, start, word, world, wait_s)
    if absent:
        verdict = f"no answer within {wait_s:g} s from {', '.join(_named(absent, environment))}; check those nodes, then start again"
    else:
        verdict = _differing(own, (json.loads(start.get(f"here/{number}")) for number in range(1, world)))
    start.set("roll", verdict)
    if verdict:
        raise StageError(verdict)
    return start


def _answer_the_roll(store: dist.Store, rank: int, wait_s: float, report: dict[str, str]) -> dist.Store:
    """What any rank but the first does of `roll_call`."""
    word = uuid.uuid4().hex
    store.set(f"word/{rank}", word)
    try:
        store.wait([f"answer/{word}"], timedelta(seconds=2 * wait_s))
        start = dist.PrefixStore(f"start/{store.get(f'answer/{word}').decode()}", store)
        start.set(f"here/{rank}", json.dumps(report))
        start.wait(["roll"], timedelta(seconds=2 * wait_s))
    except RuntimeError as err:
        raise StageError(f"rank {rank} on {socket.gethostname()}: the first rank never called the roll ({err})") from err
    if verdict := start.get("roll").decode():
        raise StageError(verdict)
    return start


def _call_out(store: dist.Store, start: dist.Store, word: str, world: int, wait_s: float) -> list[int]:
    """Answer every rank that has drawn a word with the first one's, until all have reported; returns those that have not."""
    deadline = time.monotonic() + wait_s
    absent = list(range(1, world))
    while absent and time.monotonic() < deadline:
        for number in absent:
            if store.check([f"word/{number}"]):  # perhaps one of an earlier start, to which nobody listens any more
                store.set(f"answer/{store.get(f'word/{number}').decode()}", word)
        time.sleep(0.05)
        absent = [number for number in absent if not start.check([f"here/{number}"])]
    return absent


def _differing(own: dict[str, str], others: Iterable[dict[str, str]]) -> str:
    """Who has another backend (a GPU that is not seen) or another torch than the first rank; empty if nobody."""
    found = [
        f"rank {number} on {other['node']} has {name}={other[name]}, the first rank {value}"
        for number, other in enumerate(others, start=1)
        for name, value in own.items()
        if other[name] != value
    ]
    return f"{'; '.join(found)}; mend those nodes or leave them out" if found else ""


def _nodes(environment: MutableMapping[str, str]) -> list[str]:
    return hosts(environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"])


def _named(ranks: list[int], environment: MutableMapping[str, str]) -> list[str]:
    """With the node, where Slurm's variables tell."""
    where = rank_nodes(environment)
    return [f"rank {r} on {where[r]}" if r < len(where) else f"rank {r}" for r in ranks]


def rank_nodes(environment: MutableMapping[str, str]) -> list[str]:
    """The node of each rank of a Slurm step; nothing outside of Slurm, or where tasks are laid out neither in blocks nor in turn.

    srun's own choice is a node after the other ("block"), or in turn ("cyclic") where there are no more tasks than nodes.
    """
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE", "")
    layout = environment.get("SLURM_DISTRIBUTION", "block").split(":")[0].split(",")[0]
    if not tasks or layout not in ("block", "cyclic"):
        return []
    counts = re.findall(r"(\d+)(?:\(x(\d+)\))?", tasks)  # such as 2(x3),1
    per_node = [int(count) for count, times in counts for _ in range(int(times or 1))]
    nodes = enumerate(zip(_nodes(environment), per_node, strict=False))
    turns = [(turn, number, node) for number, (node, count) in nodes for turn in range(count)]
    return [node for _, _, node in (sorted(turns) if layout == "cyclic" else turns)]


class RankLost(StageError):
    """Another rank is gone, this one can do nothing without it. Nothing is wrong with the training, which has its checkpoints."""

    exit_code = 75  # EX_TEMPFAIL, as for Stopped: start it again


@contextmanager
def lost_ranks_named() -> Iterator[None]:
    """What a collective raises when its partner is gone becomes RankLost; gloo has no type of its own for that."""
    try:
        yield
    except RuntimeError as err:
        if not isinstance(err, dist.DistError) and "/gloo/" not in str(err):
            raise
        where = f"rank {dist.get_rank()} on {socket.gethostname()}" if dist.is_initialized() else socket.gethostname()
        text = str(err).splitlines()[0]
        raise RankLost(f"{where} has lost another rank ({text}); start it again, it goes on from its newest checkpoint") from err
