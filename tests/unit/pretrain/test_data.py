"""Batches: the same samples whoever loads them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import Sample
from pretrain.config import PretrainConfig
from pretrain.data import Batch, TrainingSet, train_batches
from pretrain.evaluate import rank_split
from pretrain.shards import ShardReader
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
from pretrain.train import build_model
from tests.unit.pretrain.samples import tiny_config


def _batches(config: PretrainConfig, position: int, steps: int, rank: int = 0, world: int = 1) -> list[Batch]:
    reader = ShardReader(Path(config.data.shards), "train")
    return list(train_batches(reader, config, CaptionTokenizer(EMBEDDED_VOCAB), position, steps, rank, world))


def test_two_ranks_load_what_one_would(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path)
    alone = _batches(config, 0, 3)
    ranks = [_batches(config, 0, 3, rank, 2) for rank in (0, 1)]
    for step, whole in enumerate(alone):
        assert torch.equal(whole.image, torch.cat([ranks[0][step].image, ranks[1][step].image]))
        assert torch.equal(whole.identities, torch.cat([ranks[0][step].identities, ranks[1][step].identities]))


def test_loading_from_a_position_gives_the_rest_of_the_stream(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path)
    assert torch.equal(_batches(config, 0, 3)[2].image, _batches(config, 8, 1)[0].image)


@pytest.mark.parametrize("change", [{"workers": 1}, {"cache_mb": 0}])
def test_workers_and_cache_change_nothing(shards: Path, tmp_path: Path, change: dict[str, int]) -> None:
    plain, other = _batches(tiny_config(shards, tmp_path), 0, 6), _batches(tiny_config(shards, tmp_path, data=change), 0, 6)
    assert all(torch.equal(a.image, b.image) and torch.equal(a.texts.ids, b.texts.ids) for a, b in zip(plain, other, strict=True))


def test_augmentation_differs_between_epochs_and_not_within_one(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path, train={"global_batch": 12})
    first, second = _batches(config, 0, 2)
    by_person = [dict(zip(batch.identities.tolist(), batch.image, strict=True)) for batch in (first, second)]
    assert set(by_person[0]) == set(by_person[1]) == set(range(12))
    unequal = sum(not torch.equal(by_person[0][person], by_person[1][person]) for person in range(12))
    assert unequal > 6  # a sample may draw no change at all, twice


def test_texts_are_padded_to_the_batch_or_to_the_maximum(shards: Path, tmp_path: Path) -> None:
    longest = _batches(tiny_config(shards, tmp_path), 0, 1)[0].texts
    assert longest.mask.sum(1).max() == longest.ids.shape[1]
    padded = _batches(tiny_config(shards, tmp_path, text={"pad": "max", "max_tokens": 40}), 0, 1)[0].texts
    assert padded.ids.shape[1] == 40


class _OddReader(ShardReader):
    """Samples as another writer may have made them."""

    changes: dict[str, Any]

    def read_many(self, numbers: Any) -> list[Sample]:
        return [Sample(replace(sample.meta, **self.changes), sample.image) for sample in super().read_many(numbers)]


@pytest.mark.parametrize(
    ("changes", "which", "message"),
    [
        ({"caption": " "}, "first", "caption is empty"),
        ({"captions": ["\t"]}, "any", "caption is empty"),
        ({"captions": [None]}, "any", "caption is None; accepted: text"),
        ({"captions": []}, "any", "caption is None; accepted: text"),
    ],
)
def test_a_caption_that_cannot_be_learnt_names_its_sample(
    shards: Path, tmp_path: Path, changes: dict[str, Any], which: str, message: str
) -> None:
    reader = _OddReader(shards, "train")
    reader.changes = changes
    samples = TrainingSet(reader, tiny_config(shards, tmp_path, data={"caption": which}))
    with pytest.raises(ContractError, match=rf"train-000000\.tar, sample 000000003_00: {message}"):
        samples[0, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [0] * 26}, r"labels are \[0, .*; accepted: 27 of 0, 1 and -1"),
        ({"labels": [2] + [0] * 26}, "labels are"),
        ({"labels": [0.5] + [0] * 26}, "labels are"),
        ({"pid": 2**63}, r"pid is 9\d+; accepted: a whole number below 2\*\*63; run `passerby lint`"),
    ],
)
def test_labels_or_a_person_that_cannot_be_learnt_name_their_sample(
    shards: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config, tokenizer = tiny_config(shards, tmp_path), CaptionTokenizer(EMBEDDED_VOCAB)
    reader, held_out = _OddReader(shards, "train"), _OddReader(shards, "val")
    reader.changes = held_out.changes = changes
    with pytest.raises(ContractError, match=rf"train-000000\.tar, sample 000000003_00: {message}"):
        TrainingSet(reader, config)[0, 3]
    with pytest.raises(ContractError, match=rf"val-000000\.tar, sample 000000012_00: {message}"):
        rank_split(config, build_model(config, tokenizer).eval(), tokenizer, held_out)


def test_a_person_may_have_any_number_that_fits_where_there_is_one_set(shards: Path, tmp_path: Path) -> None:
    reader = _OddReader(shards, "train")
    reader.changes = {"pid": 2**63 - 1}
    assert TrainingSet(reader, tiny_config(shards, tmp_path))[0, 3].identity == 2**63 - 1


def test_an_error_about_a_sample_is_the_same_sentence_from_a_loading_process(shards: Path, tmp_path: Path) -> None:
    reader, messages = _OddReader(shards, "train"), []
    reader.changes = {"caption": " "}
    for workers in (0, 1):
        config = tiny_config(shards, tmp_path, data={"workers": workers})
        with pytest.raises(ContractError) as caught:
            next(train_batches(reader, config, CaptionTokenizer(EMBEDDED_VOCAB), 0, 2, 0, 1))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
