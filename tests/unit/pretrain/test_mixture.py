"""Several shard sets in one training: proportions, persons that stay apart, and what cannot be mixed."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import read_json, write_json
from pipeline.signals import StopRequest
from pipeline.tables import read_rows, write_rows
from pretrain import order
from pretrain.config import ShardSet
from pretrain.data import train_batches
from pretrain.evaluate import score_split
from pretrain.mixture import block_quotas, open_gallery, open_samples
from pretrain.shards import ShardReader
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
from pretrain.train import build_model, train
from tests.unit.pretrain.samples import make_shards, tiny_config


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with the keys and persons of `shards`, and fewer samples."""
    return make_shards(tmp_path_factory.mktemp("second"), train=6, val=2)


def _parts(shards: Path, second: Path, weights: tuple[float, float] = (3, 1)) -> list[dict[str, object]]:
    return [{"shards": str(folder), "weight": weight} for folder, weight in zip((shards, second), weights, strict=True)]


def test_samples_are_numbered_one_set_after_the_other_and_read_in_the_order_asked_for(shards: Path, second: Path) -> None:
    mixed = open_samples((ShardSet(shards=str(shards)), ShardSet(shards=str(second))), "train")
    one, other = ShardReader(shards, "train"), ShardReader(second, "train")
    assert (len(mixed), mixed.sizes, mixed.quotas) == (18, (12, 6), (1, 1))
    assert mixed.read_many([13, 2, 12, 2]) == [other.read(1), one.read(2), other.read(0), one.read(2)]
    assert [mixed.set_of(number) for number in (0, 11, 12, 17)] == [0, 0, 1, 1]
    assert str(second) in mixed.where(12)


def test_batches_hold_each_set_by_weight_and_persons_of_two_sets_stay_two(shards: Path, second: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path, data={"shards": _parts(shards, second)}, train={"global_batch": 4})
    mixed = open_samples(config.data.shards, "train")
    batches = list(train_batches(mixed, config, CaptionTokenizer(EMBEDDED_VOCAB), 0, 12, 0, 1))
    assert [int((batch.identities >= 2**48).sum()) for batch in batches] == [1] * 12
    seen = [identity for batch in batches[:4] for identity in batch.identities.tolist() if identity < 2**48]
    assert sorted(seen) == list(range(12))  # the first epoch of the first set takes four batches


def test_a_training_on_a_mixture_runs_and_another_weight_is_another_training(shards: Path, second: Path, tmp_path: Path) -> None:
    summary = train(tiny_config(shards, tmp_path, data={"shards": _parts(shards, second)}, train={"steps": 2}), StopRequest())
    assert summary["train_samples"] == 18
    with pytest.raises(ContractError, match="another config or other data"):
        train(tiny_config(shards, tmp_path, data={"shards": _parts(shards, second, (1, 1))}, train={"steps": 2}), StopRequest())


def test_held_out_samples_of_all_sets_are_one_gallery(shards: Path, second: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path, data={"shards": _parts(shards, second)})
    tokenizer = CaptionTokenizer(EMBEDDED_VOCAB)
    assert score_split(config, build_model(config, tokenizer).eval(), tokenizer)["data"] == {"queries": 6, "gallery": 6, "persons": 6}


def test_a_set_without_held_out_samples_adds_none_to_the_gallery(shards: Path, tmp_path: Path) -> None:
    without = make_shards(tmp_path / "without", val=0)
    config = tiny_config(shards, tmp_path, data={"shards": _parts(without, shards)})
    assert open_gallery(config.data).folders == (str(shards),)
    with pytest.raises(ContractError, match="no sample of split 'dev'"):
        open_gallery(tiny_config(shards, tmp_path, data={"shards": _parts(without, shards), "eval_split": "dev"}).data)


@pytest.mark.parametrize(
    ("weights", "quotas"), [((0.7, 0.2, 0.1), (7, 2, 1)), ((2, 4), (1, 2)), ((1.0,), (1,)), ((1e-3, 1), (1, 1000)), ((5, 5), (1, 1))]
)
def test_weights_become_the_smallest_whole_numbers(weights: tuple[float, ...], quotas: tuple[int, ...]) -> None:
    assert block_quotas(weights) == quotas


def test_a_mixture_of_many_sets_shuffles_each_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = []
    monkeypatch.setattr(order, "permutation", lambda seed, epoch, size, number: shuffled.append((number, epoch)) or np.arange(size))
    stream = order.Order(1, (4,) * 20, (1,) * 20)
    for start in range(0, 160, 10):
        stream.places(start, start + 10)
    assert sorted(shuffled) == [(number, epoch) for number in range(20) for epoch in (0, 1)]


def test_what_cannot_be_mixed_is_refused(shards: Path, second: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"each once"):
        tiny_config(shards, tmp_path, data={"shards": _parts(shards, shards)})
    with pytest.raises(ConfigError, match=r"weight=0"):
        tiny_config(shards, tmp_path, data={"shards": _parts(shards, second, (1, 0))})
    with pytest.raises(ConfigError, match=r"unknown key .*wieght"):
        tiny_config(shards, tmp_path, data={"shards": [{"shards": "a", "wieght": 1}]})
    with pytest.raises(ConfigError, match=r"data\.shards\[0\]\.shards is missing; it has no default"):
        tiny_config(shards, tmp_path, data={"shards": [{"weight": 1}]})
    with pytest.raises(ConfigError, match="fewer digits"):
        block_quotas((0.33333, 0.66667))
    greedy = tiny_config(shards, tmp_path, data={"shards": _parts(shards, second, (1, 8))}, train={"global_batch": 9})
    with pytest.raises(ConfigError, match=r"8 of the 9 samples of a batch come from .*, which has 6"):
        train(greedy, StopRequest())


def test_sets_of_different_attributes_need_a_space_that_says_what_is_learned(shards: Path, tmp_path: Path) -> None:
    other = make_shards(tmp_path / "other")
    manifest = read_json(other / "manifest.json")
    manifest["attribute_space"]["name"] = "another"
    write_json(other / "manifest.json", manifest)
    sets = (ShardSet(shards=str(shards)), ShardSet(shards=str(other)))
    with pytest.raises(ConfigError, match=r"'another', which differ; give data\.attributes"):
        open_samples(sets, "train")
    assert len(open_samples(sets, "train", with_own_space=True)) == 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shard": "../train-000000.tar"}, "names of tar files beside it"),
        ({"shard": "/etc/passwd.tar"}, "names of tar files beside it"),
        ({"image_offset": -1}, "negative offset"),
        ({"sha256": "abc"}, "64 hex digits"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = make_shards(tmp_path)
    rows = read_rows(folder / "index.parquet")
    write_rows(folder / "index.parquet", [{**row, **change} for row in rows])
    with pytest.raises(ContractError, match=message):
        ShardReader(folder, "train")
