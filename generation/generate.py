"""Prompt and seed -> picture. Reads the prompt table, writes PNG pictures for `filter` and `recrop`."""

from collections.abc import Sequence

from generation.backends.batching import MAX_TRY
from generation.backends.diffusion import DiffusionModel, Picture
from generation.config import GenerateConfig
from generation.images import encode_png
from pipeline.contracts.stage import Drop, Item, Keep, Outcome
from pipeline.seeds import derive_seed

REASONS = ("unsafe_image",)


class GenerateStage:
    """One picture per item; the seed follows from the run's seed and the key, so that any one picture can be made again."""

    name = "generate"
    reads_images = False
    writes_images = True

    def __init__(self, config: GenerateConfig, run_seed: int) -> None:
        self._config, self._run_seed = config, run_seed
        self.batch_size = config.batch_size or MAX_TRY  # found by trying: the model cuts batches itself
        self._model: DiffusionModel | None = None

    def setup(self) -> None:
        self._model = DiffusionModel(self._config)

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        assert self._model is not None, "setup() comes first"
        seeds = [derive_seed(self._run_seed, self.name, item.key) for item in batch]
        pictures = self._model.generate([item.row["prompt"] for item in batch], seeds)
        return [self._outcome(picture, seed) for picture, seed in zip(pictures, seeds, strict=True)]

    def teardown(self) -> None:
        self._model = None

    def _outcome(self, picture: Picture, seed: int) -> Outcome:
        assert self._model is not None
        size = [picture.image.shape[0], picture.image.shape[1]]
        row = {"seed": seed, "generator": {**self._model.provenance, "size": size}}
        return Drop("unsafe_image", row) if picture.unsafe else Keep(row, encode_png(picture.image))
