"""Keep or drop a generated picture, with one reason; every measure is stored either way.

Reads the pictures of `generate`; `recrop` reads the key points that it writes.
"""

from collections.abc import Sequence
from typing import Any

from generation.backends.pose_bundle import pose_model
from generation.backends.pose_pool import PosePool, WorkerDiedError
from generation.config import FilterConfig
from generation.filter_decision import decide
from generation.image_measures import measure_image
from generation.images import Image, decode_item
from generation.pose_measures import Person, measure_persons
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome


class FilterStage:
    """Adds `measures` and `keypoints` (33 rows of x px, y px, visibility, presence of the main person, or None)."""

    name = "filter"
    reads_images = True
    writes_images = False

    def __init__(self, config: FilterConfig) -> None:
        self._config = config
        self.batch_size = config.batch_size
        self._pool: PosePool | None = None

    def setup(self) -> None:
        self._pool = PosePool(pose_model(self._config.pose_model), self._config.num_workers)
        self._pool.warm_up()

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        assert self._pool is not None, "setup() comes first"
        images = [decode_item(item.image) for item in batch]
        readable = [image for image in images if not isinstance(image, Fail)]
        persons = iter(self._pool.detect_all(readable))
        return [
            image if isinstance(image, Fail) else self._judge(image, len(item.image or b""), next(persons))
            for item, image in zip(batch, images, strict=True)
        ]

    def teardown(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _judge(self, image: Image, encoded_bytes: int, persons: list[Person] | WorkerDiedError) -> Outcome:
        if isinstance(persons, WorkerDiedError):
            return Fail("pose_worker_died", str(persons))
        height, width = image.shape[:2]
        measures = measure_image(image, encoded_bytes) | measure_persons(persons, width, height)
        row: dict[str, Any] = {"measures": measures, "keypoints": keypoints_json(persons[0]) if persons else None}
        reason = decide(measures, self._config.thresholds)
        return Keep(row) if reason is None else Drop(reason, row)


def keypoints_json(person: Person) -> list[list[float]]:
    """(33, 4) array -> lists: pixels to a hundredth, shares to a thousandth."""
    return [[round(float(x), 2), round(float(y), 2), round(float(v), 3), round(float(p), 3)] for x, y, v, p in person]
