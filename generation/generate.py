"""Prompt and seed -> picture. Reads the prompt table, writes PNG pictures for `filter` and `recrop`."""

from collections.abc import Sequence

from generation.backends.diffusion import DiffusionModel
from generation.config import GenerateConfig
from generation.images import encode_png
from pipeline.contracts.stage import Item, Keep, Outcome
from pipeline.seeds import derive_seed


class GenerateStage:
    """One picture per item; the seed follows from the run's seed and the key, so that any one picture can be made again."""

    name = "generate"
    reads_images = False
    writes_images = True

    def __init__(self, config: GenerateConfig, run_seed: int) -> None:
        self._config, self._run_seed = config, run_seed
        self.batch_size = config.batch_size
        self._model: DiffusionModel | None = None

    def setup(self) -> None:
        self._model = DiffusionModel(self._config)

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        assert self._model is not None, "setup() comes first"
        seeds = [derive_seed(self._run_seed, self.name, item.key) for item in batch]
        images = self._model.generate([item.row["prompt"] for item in batch], seeds)
        made = self._model.provenance
        return [
            Keep({"seed": seed, "generator": {**made, "size": [image.shape[0], image.shape[1]]}}, encode_png(image))
            for seed, image in zip(seeds, images, strict=True)
        ]

    def teardown(self) -> None:
        self._model = None
