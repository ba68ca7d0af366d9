"""Prompt and seed -> picture. Reads the prompt table, writes PNG pictures for `filter` and `recrop`."""

from collections.abc import Sequence
from queue import SimpleQueue

from generation.backends.batching import MAX_TRY
from generation.backends.diffusion import DiffusionModel, Picture
from generation.config import GenerateConfig
from generation.images import encode_png
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome
from pipeline.seeds import derive_seed


class GenerateStage:
    """One picture per item; the seed follows from the run's seed and the key, so that any one picture can be made again.

    A SplitStage: `compute` draws, in up to `num_lanes` threads, `finish` encodes. With `fill_cores` there is a lane a core where the model
    runs on the CPU with one thread; on a GPU one lane keeps it busy.
    """

    name = "generate"
    reads_images = False
    writes_images = True

    def __init__(self, config: GenerateConfig, run_seed: int, *, fill_cores: bool = False) -> None:
        self._config, self._run_seed, self._fill_cores = config, run_seed, fill_cores
        self.batch_size = config.batch_size or MAX_TRY  # found by trying: the model cuts batches itself
        self.num_lanes = 1
        self._model: DiffusionModel | None = None
        self._idle: SimpleQueue[DiffusionModel] = SimpleQueue()  # the model and its replicas, one a lane

    def setup(self) -> None:
        self._model = DiffusionModel(self._config)
        self.num_lanes = self._model.max_replicas() if self._fill_cores else 1
        for model in (self._model, *(self._model.replica() for _ in range(self.num_lanes - 1))):
            self._idle.put(model)

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        return self.finish(batch, self.compute(batch))

    def compute(self, batch: Sequence[Item]) -> list[Picture]:
        assert self._model is not None, "setup() comes first"
        model = self._idle.get()
        try:
            return model.generate([item.row["prompt"] for item in batch], self._seeds(batch))
        finally:
            self._idle.put(model)

    def finish(self, batch: Sequence[Item], computed: Sequence[Picture]) -> Sequence[Outcome]:
        return [self._outcome(picture, seed) for picture, seed in zip(computed, self._seeds(batch), strict=True)]

    def teardown(self) -> None:
        self._model, self._idle = None, SimpleQueue()

    def _seeds(self, batch: Sequence[Item]) -> list[int]:
        return [derive_seed(self._run_seed, self.name, item.key) for item in batch]

    def _outcome(self, picture: Picture, seed: int) -> Outcome:
        assert self._model is not None
        if picture.not_finite is not None:
            return Fail("not_finite", picture.not_finite)
        size = [picture.image.shape[0], picture.image.shape[1]]
        row = {"seed": seed, "generator": {**self._model.provenance, "size": size}, "batch": picture.batch}
        return Drop("unsafe_image", row) if picture.unsafe else Keep(row, encode_png(picture.image))
