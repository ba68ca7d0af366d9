"""Key points -> one upright picture of the person at the configured size. Reads `filter` rows and `generate` pictures; writes JPEG."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from generation.config import RecropConfig
from generation.crop import crop_to_size, person_box
from generation.images import decode_item, encode_jpeg
from generation.pose_measures import BODY
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome

MIN_PRESENCE = 0.5
REASONS = ("small_crop",)


class RecropStage:
    """Adds `crop_xyxy_px` (in the generated picture; may reach outside it)."""

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
        box = person_box(
            _seen_points(item.row["keypoints"]),
            pad_top=config.pad_top,
            pad_bottom=config.pad_bottom,
            pad_side=config.pad_side,
            aspect=config.width / config.height,
        )
        row = {"crop_xyxy_px": list(box)}
        if box[3] - box[1] < config.min_height_px:
            return Drop("small_crop", row)
        return Keep(row, encode_jpeg(crop_to_size(image, box, config.height, config.width), config.jpeg_quality))


def _seen_points(keypoints: list[list[float]]) -> npt.NDArray[np.float32]:
    """(N, 2): the body's points, and hands, feet and face where the picture shows them; guesses would stretch the box."""
    person = np.array(keypoints, np.float32)
    seen = person[:, 3] > MIN_PRESENCE
    seen[list(BODY)] = True
    return person[seen, :2]
