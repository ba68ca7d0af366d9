"""Several gloo processes for a test, forked from one server that has loaded torch, so that they cost little."""

import multiprocessing
import pickle
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

LIMIT_S = 300


def run_ranks(function: Callable[..., Any], world: int, folder: Path, *arguments: Any) -> list[Any]:
    """function(rank, *arguments) in `world` processes of one group; results by rank. Fails with the traceback of a rank that failed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "torch.distributed.nn", "numpy", "cv2", "pyarrow.parquet", "scipy.interpolate", "tokenizers", "pretrain.train"]
    )
    started = []
    for rank in range(world):
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_rank, args=(theirs, function, rank, world, str(folder), arguments))
        process.start()
        theirs.close()
        started.append((process, mine))
    results = [_received(connection) for _, connection in started]
    for process, _ in started:
        process.join(LIMIT_S)
        process.kill()
    if failed := [text for ok, text in results if not ok]:
        raise AssertionError("\n".join(failed))
    return [result for _, result in results]


def _received(connection: Connection) -> tuple[bool, Any]:
    try:
        # Bytes: tensors sent as such would stay in the memory of a process that ends at once.
        return pickle.loads(connection.recv_bytes()) if connection.poll(LIMIT_S) else (False, "a rank did not answer")  # noqa: S301
    except EOFError:
        return False, "a rank died"


def _rank(connection: Connection, function: Callable[..., Any], rank: int, world: int, folder: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous-{world}", rank=rank, world_size=world)
        result = function(rank, *arguments)
        dist.barrier()
        dist.destroy_process_group()
        connection.send_bytes(pickle.dumps((True, result)))
    except BaseException:
        connection.send_bytes(pickle.dumps((False, f"rank {rank}:\n{traceback.format_exc()}")))
        raise
