"""Kinds of test pictures whose names tell nothing, by a router trained on the train split."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.datasets.challenge import images_folder, kind_of_image, labels_path, read_labels
from finetune.datasets.retrieval_split import RetrievalSplit
from finetune.datasets.routing import route
from finetune.kind_router import KindRouter, Route, train_router
from pipeline.contracts.errors import ContractError
from pretrain.pictures import UNREADABLE, as_rgb

MOST_OF_A_KIND = 2000  # training pictures, evenly spread
SURE = 0.9  # below this confidence a picture is searched for both kinds


def rerouted(root: Path, split: RetrievalSplit) -> RetrievalSplit:
    """The split as it is where every name tells its kind or there is no train split; else with kinds from pixels where names are silent."""
    kinds: list[str | None] = [kind_of_image(name) for name in split.gallery]
    silent = [i for i, kind in enumerate(kinds) if kind is None]
    if not silent or not labels_path(root, "train").is_file():
        return split
    for place, found in zip(silent, routes_of(router_of(root), split.folder, [split.gallery[i] for i in silent]), strict=True):
        kinds[place] = found.kind if found.confidence >= SURE else None
    return replace(split, routes=route(split.queries, split.gallery, kinds))


def router_of(root: Path) -> KindRouter:
    """Trained on pictures of the train split, as many of either kind as there are, up to a limit."""
    records = read_labels(labels_path(root, "train"))
    chosen = []
    for kind in sorted({record.kind for record in records}):
        lines = [record for record in records if record.kind == kind]
        chosen += lines[:: ceil(len(lines) / MOST_OF_A_KIND)]
    folder = images_folder(root, "train")
    return train_router([_read(folder / record.image) for record in chosen], [record.kind for record in chosen])


def routes_of(router: KindRouter, folder: Path, names: Sequence[str]) -> list[Route]:
    """Of each picture. Raises ContractError naming one that cannot be read."""
    return [router.routes([_read(folder / name)])[0] for name in names]


def _read(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of any size, read as the encoders read it."""
    try:
        with Image.open(path) as image:
            return np.asarray(as_rgb(image))
    except UNREADABLE as err:
        raise ContractError(f"{path} is missing or no readable picture; `passerby verify-data challenge` lists all such") from err
