"""Keep or drop a generated picture, with one reason; every measure is stored either way.

Reads the pictures of `generate`; `recrop` reads the key points that it writes.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from generation.backends.plugins import Plugin, load_plugin
from generation.backends.pose_bundle import pose_model
from generation.backends.pose_pool import PosePool, WorkerDiedError
from generation.config import FilterConfig
from generation.filter_decision import decide
from generation.image_measures import measure_image
from generation.images import Image, decode_item
from generation.pose_measures import Person, measure_persons
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome
from pipeline.machine import num_cpus


class FilterStage:
    """Adds `measures` and `keypoints` (33 rows of x px, y px, visibility, presence of the main person, or None)."""

    name = "filter"
    reads_images = True
    writes_images = False

    def __init__(self, config: FilterConfig) -> None:
        self._config = config
        self.batch_size = config.batch_size
        self._pool: PosePool | None = None
        self._plugins: list[Plugin] = []

    def prepare(self) -> None:
        """Start the pose processes, which load beside whatever else is being loaded; `setup` waits for them."""
        if self._pool is None:
            self._pool = PosePool(pose_model(self._config.pose_model), _num_workers(self._config))
            self._pool.start()

    def setup(self) -> None:
        self.prepare()
        assert self._pool is not None
        self._pool.warm_up()
        self._plugins = [load_plugin(plugin) for plugin in self._config.plugins]

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        assert self._pool is not None, "setup() comes first"
        images = [decode_item(item.image) for item in batch]
        readable = [(item, image) for item, image in zip(batch, images, strict=True) if not isinstance(image, Fail)]
        poses = self._pool.begin([image for _, image in readable])  # beside it, in this process:
        measured = iter([measure_image(image, len(item.image or b"")) for item, image in readable])
        extra = iter(self._measured_by_plugins([image for _, image in readable], [item.row.get("prompt") for item, _ in readable]))
        persons = iter(poses())
        return [image if isinstance(image, Fail) else self._judge(image, next(measured), next(persons), next(extra)) for image in images]

    def teardown(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        self._plugins = []

    def _measured_by_plugins(self, images: Sequence[Image], prompts: Sequence[str | None]) -> list[dict[str, float]]:
        rows: list[dict[str, float]] = [{} for _ in images]
        for plugin in self._plugins if images else ():
            for row, value in zip(rows, plugin.measure(images, prompts), strict=True):
                row |= {} if value is None else {plugin.name: value}
        return rows

    def _judge(self, image: Image, measured: dict[str, float], persons: list[Person] | WorkerDiedError, extra: dict[str, float]) -> Outcome:
        if isinstance(persons, WorkerDiedError):
            return Fail("pose_worker_died", str(persons))
        if broken := [f"{name} is {value}" for name, value in extra.items() if not isfinite(value)]:
            return Fail("invalid_measure", f"{', '.join(broken)}; a model that gives no number wants another filter.plugins.dtype")
        height, width = image.shape[:2]
        measures = measured | measure_persons(persons, width, height) | extra
        row: dict[str, Any] = {"measures": measures, "keypoints": keypoints_json(persons[0]) if persons else None}
        reason = decide(measures, self._config.thresholds)
        return Keep(row) if reason is None else Drop(reason, row)


def _num_workers(config: FilterConfig) -> int:
    """null: a process a core, which Slurm, containers and workers beside us may make few; never more than a batch has pictures."""
    return min(num_cpus(), config.batch_size) if config.num_workers is None else config.num_workers


def keypoints_json(person: Person) -> list[list[float]]:
    """(33, 4) array -> lists: pixels to a hundredth, shares to a thousandth."""
    return [[round(float(x), 2), round(float(y), 2), round(float(v), 3), round(float(p), 3)] for x, y, v, p in person]
