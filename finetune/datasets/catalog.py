"""Data sets by name, and the sizes that their authors publish."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from finetune.datasets import own, pa100k
from finetune.datasets.challenge_records import read_challenge
from finetune.datasets.person import CUHK_PEDES, ICFG_PEDES, RSTPREID
from finetune.datasets.records import SPLITS, Split
from pipeline.contracts.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Sizes:
    """Published counts of a split; None where no figure is known."""

    images: int
    captions: int | None = None
    identities: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """read(root, split) -> Split. disjoint: no identity may be in two splits."""

    title: str
    read: Callable[[Path, str], Split]
    splits: Callable[[Path], tuple[str, ...]] = lambda root: SPLITS
    published: Mapping[str, Sizes] = field(default_factory=dict)
    disjoint: bool = True


DATA_SETS: dict[str, DataSet] = {
    "cuhk-pedes": DataSet(
        title=CUHK_PEDES.title,
        read=CUHK_PEDES.read,
        published={"train": Sizes(34054, 68126, 11003), "val": Sizes(3078, 6158, 1000), "test": Sizes(3074, 6156, 1000)},
    ),
    "icfg-pedes": DataSet(
        title=ICFG_PEDES.title,
        read=ICFG_PEDES.read,
        splits=lambda root: ICFG_PEDES.splits,
        published={"train": Sizes(34674, 34674, 3102), "test": Sizes(19848, 19848, 1000)},
    ),
    "rstpreid": DataSet(
        title=RSTPREID.title,
        read=RSTPREID.read,
        published={"train": Sizes(18505, 37010, 3701), "val": Sizes(1000, 2000, 200), "test": Sizes(1000, 2000, 200)},
    ),
    "pa-100k": DataSet(
        title=pa100k.TITLE,
        read=pa100k.read_pa100k,
        published={"train": Sizes(80000), "val": Sizes(10000), "test": Sizes(10000)},
    ),
    "challenge": DataSet(  # its identities are attribute vectors and tags, which splits share
        title="CVPR 2023 Foundation Model Challenge, Track 2",
        read=read_challenge,
        published={"train": Sizes(126117, 126117), "val": Sizes(10000, 10000), "test": Sizes(17611, 17611)},
        disjoint=False,
    ),
    "own": DataSet(title="your own captions.csv or captions.jsonl", read=own.read_own, splits=own.splits_of),
}


def data_set(name: str) -> DataSet:
    """Raises ConfigError for a name that is not one of DATA_SETS."""
    if name not in DATA_SETS:
        raise ConfigError(f"data set {name!r}; accepted: {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
