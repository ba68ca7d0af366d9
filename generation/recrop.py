"""Key points -> one upright picture of the person at the configured size. Reads `filter` rows and `generate` pictures; writes JPEG."""

from collections.abc import Sequence

import numpy as np

from generation.config import RecropConfig
from generation.crop import Box, crop_to_size, person_box
from generation.images import decode_item, encode_jpeg
from generation.near_duplicates import perceptual_hash
from generation.pose_measures import Person, box_points
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome


def crop_box(person: Person, config: RecropConfig) -> Box:
    """The part of the picture that is kept of a person, (left, top, right, bottom) in px; may reach outside it."""
    return person_box(
        box_points(person),
        pad_top=config.pad_top,
        pad_bottom=config.pad_bottom,
        pad_side=config.pad_side,
        aspect=config.width / config.height,
    )


class RecropStage:
    """Adds `crop_xyxy_px` (in the generated picture; may reach outside it) and `phash`, by which `shard` finds near-duplicates."""

    name = "recrop"
    reads_images = True
    writes_images = True
    batch_size = 64

    def __init__(self, config: RecropConfig) -> None:
        self._config = config

    def setup(self) -> None:
        pass

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        return [self._one(item) for item in batch]

    def teardown(self) -> None:
        pass

    def _one(self, item: Item) -> Outcome:
        config = self._config
        image = decode_item(item.image)
        if isinstance(image, Fail):
            return image
        box = crop_box(np.array(item.row["keypoints"], np.float32), config)
        row = {"crop_xyxy_px": list(box)}
        if box[3] - box[1] < config.min_height_px:
            return Drop("small_crop", row)
        cropped = crop_to_size(image, box, config.height, config.width)
        return Keep({**row, "phash": perceptual_hash(cropped)}, encode_jpeg(cropped, config.jpeg_quality))
