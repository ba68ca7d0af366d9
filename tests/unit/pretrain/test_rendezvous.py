"""Ranks from Slurm's variables, and the name of the one that does not come."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from pipeline.contracts.errors import ConfigError, StageError
from pipeline.nodelist import hosts
from pretrain.rendezvous import RankLost, adopt_slurm, lost_ranks_named, open_store, rank_nodes, roll_call

SLURM = {
    "SLURM_NTASKS": "6",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_ID": "123456",
    "SLURM_JOB_NODELIST": "gpu[07-08],big",
    "SLURM_TASKS_PER_NODE": "2(x2),2",
}


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("nodelist", "names"),
    [("n1", ["n1"]), ("n[1-3]", ["n1", "n2", "n3"]), ("a-b[08-10,12],c.d", ["a-b08", "a-b09", "a-b10", "a-b12", "c.d"])],
)
def test_node_lists_are_expanded(nodelist: str, names: list[str]) -> None:
    assert hosts(nodelist) == names


def test_what_is_no_node_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="set MASTER_ADDR"):
        hosts("n[1-")


def test_slurm_variables_become_ranks_and_what_a_launcher_announced_stays() -> None:
    environment = dict(SLURM)
    adopt_slurm(environment)
    names = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    assert [environment[name] for name in names] == ["6", "4", "1", "gpu07", "23456"]
    announced = {**SLURM, "WORLD_SIZE": "2", "RANK": "1"}
    adopt_slurm(announced)
    assert announced["RANK"] == "1"
    alone = {**SLURM, "SLURM_NTASKS": "1"}
    adopt_slurm(alone)
    assert "WORLD_SIZE" not in alone
    batch_script = {name: value for name, value in SLURM.items() if name != "SLURM_STEP_ID"}
    adopt_slurm(batch_script)
    assert "WORLD_SIZE" not in batch_script


@pytest.mark.parametrize(
    ("layout", "nodes"),
    [("block", ["a1", "a1", "a2", "a2", "b"]), ("cyclic:block", ["a1", "a2", "b", "a1", "a2"]), ("plane=2", []), ("arbitrary", [])],
)
def test_the_node_of_each_rank_follows_from_the_layout_of_the_tasks(layout: str, nodes: list[str]) -> None:
    step = {"SLURM_STEP_NODELIST": "a[1-2],b", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1", "SLURM_DISTRIBUTION": layout}
    assert rank_nodes(step) == nodes
    assert rank_nodes({}) == []


def test_a_rank_that_does_not_answer_is_named_with_its_node_to_all_that_did() -> None:
    environment = {**SLURM, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    host = open_store(0, 6, 2.0, environment)
    others, messages = [open_store(rank, 6, 2.0, environment) for rank in (1, 2, 3, 5)], []

    def answer(store: object, rank: int) -> None:
        with pytest.raises(StageError) as caught:
            roll_call(store, rank, 6, 1.0, environment)  # type: ignore[arg-type]
        messages.append(str(caught.value))

    threads = [threading.Thread(target=answer, args=pair) for pair in zip(others, (1, 2, 3, 5), strict=True)]
    for thread in threads:
        thread.start()
    with pytest.raises(StageError, match=r"no answer within 1 s from rank 4 on big"):
        roll_call(host, 0, 6, 1.0, environment)
    for thread in threads:
        thread.join()
    assert len(messages) == 4
    assert all("rank 4 on big" in message for message in messages)


def test_a_rank_that_sees_no_gpu_is_named_before_anybody_waits_for_it() -> None:
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    host, messages = open_store(0, 2, 2.0, environment), []

    def answer() -> None:
        with pytest.raises(StageError) as caught:
            roll_call(open_store(1, 2, 2.0, environment), 1, 2, 2.0, environment, {"backend": "gloo", "torch": "2"})
        messages.append(str(caught.value))

    other = threading.Thread(target=answer)
    other.start()
    with pytest.raises(StageError, match=rf"rank 1 on {socket.gethostname()} has backend=gloo, the first rank nccl; mend"):
        roll_call(host, 0, 2, 2.0, environment, {"backend": "nccl", "torch": "2"})
    other.join()
    assert "backend=gloo" in messages[0]


def test_a_store_that_outlives_a_start_does_not_mix_two() -> None:
    """torchrun's, after a restart: the ranks of the second start come one after the other and find the words of the first."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    stores = [open_store(rank, 3, 5.0, environment) for rank in range(3)]

    def start(number: int, *late: int) -> list[bytes]:
        def join(rank: int) -> bytes:
            time.sleep(0.3 * (rank in late))
            own = roll_call(stores[rank], rank, 3, 5.0, environment, {"start": str(number)})
            if rank == 0:
                own.set("address", f"of start {number}")
            return own.get("address")

        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(join, range(3)))

    for number, late in enumerate([(), (0,), (1,), (0, 2)]):
        assert start(number, *late) == [f"of start {number}".encode()] * 3


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        with pytest.raises(StageError, match=r"cannot listen on 127\.0\.0\.1:\d+ .*set MASTER_PORT"):
            open_store(0, 2, 0.5, environment)


def test_a_first_rank_that_cannot_be_reached_is_named() -> None:
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    with pytest.raises(StageError, match=r"rank 1 on .* cannot reach the first rank at 127\.0\.0\.1"):
        open_store(1, 2, 0.5, environment)


def test_a_lost_rank_means_start_again_and_any_other_error_stays_what_it_is() -> None:
    with pytest.raises(
        RankLost, match=rf"{socket.gethostname()} has lost another rank .*Connection closed by peer.*start it again"
    ) as caught:
        _fail(RuntimeError("[/build/gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.2]:5294.\nmore"))
    assert caught.value.exit_code == 75
    with pytest.raises(RankLost):
        _fail(dist.DistNetworkError("the server is gone"))
    with pytest.raises(RuntimeError, match="size mismatch") as other:
        _fail(RuntimeError("size mismatch"))
    assert not isinstance(other.value, RankLost)


def _fail(error: Exception) -> None:
    with lost_ranks_named():
        raise error
