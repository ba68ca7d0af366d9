"""Which lines a step takes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.datasets.challenge import Pedestrian, Record, Vehicle
from finetune.order import KindBatches
from pipeline.contracts.challenge import VehicleTag
from pipeline.contracts.errors import ConfigError


def records_of(people: int, vehicles: int) -> list[Record]:
    cars: list[Record] = [Vehicle(f"v{i}.jpg", VehicleTag(type="Bus"), "A Bus.") for i in range(vehicles)]
    return [*cars, *(Pedestrian(f"{i:06d}.jpg", (0,) * 21, "A man.") for i in range(people))]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
def test_every_batch_is_of_one_kind_and_kinds_take_turns_by_their_share(people, vehicles, steps):
    records = records_of(people + 2, vehicles + 2)
    kinds = [{records[line].kind for _, line in batch} for batch in KindBatches(1, records, 2, 0, steps)]
    assert all(len(kind) == 1 for kind in kinds)
    expected = steps * (vehicles + 2) / len(records)
    assert abs(kinds.count({"vehicle"}) - expected) < 1


@given(st.integers(0, 5), st.integers(1, 12))
def test_any_start_and_any_number_of_ranks_give_the_same_global_batches(seed, first):
    records = records_of(9, 7)
    whole = list(KindBatches(seed, records, 4, 0, 20))
    parts = [KindBatches(seed, records, 4, first, 20 - first, rank, 2) for rank in range(2)]
    assert whole[first:] == [one + other for one, other in zip(*parts, strict=True)]


def test_each_line_comes_once_per_epoch():
    records = records_of(8, 4)
    batches = list(KindBatches(3, records, 4, 0, 6))  # two epochs: 4 batches of pedestrians, 2 of vehicles
    assert Counter(line for batch in batches for _, line in batch) == dict.fromkeys(range(12), 2)
    assert Counter(place for batch in batches for place in batch).most_common(1)[0][1] == 1


def test_one_kind_alone_is_enough():
    assert [len(batch) for batch in KindBatches(0, records_of(5, 0), 4, 0, 3)] == [4, 4, 4]


def test_a_kind_smaller_than_a_batch_is_named():
    with pytest.raises(ConfigError, match=r"vehicle lines of the train split: train\.global_batch=4 exceeds the 3"):
        KindBatches(0, records_of(5, 3), 4, 0, 1)
