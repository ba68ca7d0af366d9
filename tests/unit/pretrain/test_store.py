"""Shards behind URLs: the same samples as from a folder, failures tried again a bounded number of times, addresses that are refused."""

import logging
import pickle
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.signals import StopRequest
from pretrain import store
from pretrain.data import train_batches
from pretrain.mixture import open_samples
from pretrain.shards import ShardReader
from pretrain.store import RemoteStore, Span, open_store
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
from pretrain.train import train
from tests.unit.pretrain.remote import FlakyFileSystem, WholeFileHandler, in_memory, make_flaky, served
from tests.unit.pretrain.samples import make_shards, tiny_config


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The pauses that were made, without waiting for them."""
    made: list[float] = []
    monkeypatch.setattr(store.time, "sleep", made.append)
    yield made
    FlakyFileSystem.failures = FlakyFileSystem.short = 0


def test_a_url_gives_the_samples_of_its_folder(shards: Path) -> None:
    here = ShardReader(shards, "train")
    for address in (in_memory(shards, "same"), f"file://{shards}", f"{make_flaky(shards)}/"):
        there = ShardReader(address, "train")
        assert there.digest() == here.digest()
        assert there.read_many(range(len(there))) == here.read_many(range(len(here)))
        assert pickle.loads(pickle.dumps(there)).read(3) == here.read(3)  # noqa: S301 - our own bytes


def test_a_web_server_gives_the_samples_of_its_folder(shards: Path) -> None:
    pytest.importorskip("aiohttp", reason="needs the extra `remote`")
    here = ShardReader(shards, "train")
    with served(shards) as url:
        there = ShardReader(url, "train")
        assert there.digest() == here.digest()
        assert there.read_many(range(len(there))) == here.read_many(range(len(here)))
        with pytest.raises(ConfigError, match="nowhere"):
            ShardReader(f"{url}/nowhere", "train")


def test_a_web_server_without_byte_ranges_is_named(shards: Path) -> None:
    pytest.importorskip("aiohttp", reason="needs the extra `remote`")
    with served(shards, WholeFileHandler) as url, pytest.raises(StageError, match=r"train-000000\.tar: asked for \d+ bytes and got \d+"):
        ShardReader(url, "train").read_many([0, 1])


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_processes_read_from_a_url_what_they_read_from_a_folder(shards: Path, tmp_path: Path, workers: int) -> None:
    batches = []
    for address in (str(shards), in_memory(shards, "loader")):
        config = tiny_config(shards, tmp_path, data={"shards": address, "workers": workers})
        stream = train_batches(open_samples(address, "train"), config, CaptionTokenizer(EMBEDDED_VOCAB), 0, 4, 0, 1)
        batches.append(list(stream))
    assert all(torch.equal(a.image, b.image) and a.keys == b.keys for a, b in zip(*batches, strict=True))


def test_a_sample_is_one_read_and_a_batch_is_asked_for_at_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ShardReader(make_flaky(shards), "train")
    FlakyFileSystem.asked.clear()
    calls = []
    monkeypatch.setattr(
        FlakyFileSystem, "cat_ranges", lambda self, *a, **k: calls.append(a) or super(FlakyFileSystem, self).cat_ranges(*a, **k)
    )
    reader.read_many([4, 1, 7])
    assert [name for name, _, _ in FlakyFileSystem.asked] == ["train-000000.tar"] * 3
    assert len(calls) == 1


def test_a_network_that_fails_is_tried_again_with_growing_pauses(
    shards: Path, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    address = make_flaky(shards, failures=3)
    with caplog.at_level(logging.WARNING):
        assert ShardReader(address, "train").read(0) == ShardReader(shards, "train").read(0)
    assert pauses == [1.0, 2.0, 4.0]
    assert "attempt 4 of 6" in caplog.text


def test_an_answer_that_is_cut_short_inside_a_batch_is_asked_for_again(shards: Path) -> None:
    reader = ShardReader(make_flaky(shards), "train")
    FlakyFileSystem.short = 2
    assert reader.read_many(range(5)) == ShardReader(shards, "train").read_many(range(5))


def test_a_network_that_stays_broken_ends_in_an_error_with_the_address(shards: Path, pauses: list[float]) -> None:
    reader = ShardReader(address := make_flaky(shards), "train")
    FlakyFileSystem.failures = 1000
    with pytest.raises(StageError, match=rf"{address}/train-000000\.tar could not be read in 6 attempts, .* reset by peer"):
        reader.read_many([0, 1])
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_what_is_not_there_is_said_at_once(shards: Path, tmp_path: Path, pauses: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"data\.shards=memory://nowhere: no index\.parquet there"):
        ShardReader("memory://nowhere", "train")
    folder = make_shards(tmp_path / "gap")
    reader = ShardReader(make_flaky(folder), "train")
    (folder / "train-000000.tar").unlink()
    with pytest.raises(ContractError, match=r"gap/train-000000\.tar does not exist"):
        reader.read(0)
    assert pauses == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nosuch://bucket/shards", "Protocol not known: nosuch"),
        ("simplecache::memory://a", "chained addresses"),
        ("sftp://user:geheim@host/shards", r"must not hold a password"),
    ],
)
def test_addresses_that_cannot_be_opened_are_refused_and_no_password_is_repeated(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_store(address)
    assert "geheim" not in str(caught.value)


def test_a_protocol_without_its_plug_in_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"s3://bucket/shards cannot be opened: .*s3fs"):
        RemoteStore("s3://bucket/shards")


def test_a_span_beyond_the_end_gives_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    assert open_store(str(tmp_path)).read([Span("f", 8, 20)]) == [b"89"]
    with pytest.raises(ContractError, match="cannot be read"):
        open_store(str(tmp_path)).read([Span("g", 0, 1)])


READS_MANY_FILES = """
import os, random, sys
from concurrent.futures import ThreadPoolExecutor
from pretrain.store import Span, open_store

folder, share = sys.argv[1], int(sys.argv[2])
stores = [open_store(folder, share) for _ in range(share)]

def look(seed):
    numbers = random.Random(seed).choices(range(200), k=2000)
    return all(stores[n % share].read([Span(f"{n}", 0, 9)]) == [f"file {n:04d}".encode()] for n in numbers)

with ThreadPoolExecutor(4) as pool:
    print(all(pool.map(look, range(4))), len(os.listdir("/proc/self/fd")))
"""


@pytest.mark.parametrize("stores", [1, 3])
def test_more_files_than_a_process_may_open_are_read_by_threads_too(tmp_path: Path, stores: int) -> None:
    """A data set of 1.5 million samples has more shards than the 1024 files of most machines; `stores` sets share them."""
    for number in range(200):
        (tmp_path / f"{number}").write_text(f"file {number:04d}")
    done = subprocess.run(
        [sys.executable, "-c", READS_MANY_FILES, str(tmp_path), str(stores)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    )
    assert done.returncode == 0, done.stderr
    right, num_open = done.stdout.split()
    assert right == "True"
    assert int(num_open) < 32  # the rest is for sockets, libraries and checkpoints


def test_what_a_store_has_opened_is_closed_with_it(shards: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader = ShardReader(shards, "train")
    reader.read(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    del reader
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_training_reads_a_url_and_continues_from_a_folder_of_the_same_data(shards: Path, tmp_path: Path) -> None:
    train(tiny_config(shards, tmp_path, data={"shards": in_memory(shards, "training")}, train={"steps": 2, "save_every": 1}), StopRequest())
    again = train(tiny_config(shards, tmp_path, train={"steps": 2, "save_every": 1}), StopRequest())
    assert again["steps"] == 2
