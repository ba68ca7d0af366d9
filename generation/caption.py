"""Picture -> caption, and the gate behind it. Reads the recropped pictures; `annotate` reads the captions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from generation.candidates import Description, choose
from generation.config import CaptionConfig
from generation.images import Image, decode_item
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome


class Captioner(Protocol):
    """A loaded model of any family."""

    provenance: dict[str, Any]

    def describe(self, images: Sequence[Image]) -> list[Description]:
        """One description per picture, in order."""
        ...


class CaptionStage:
    """Adds `caption`, `captions` (a list that begins with it), `caption_candidates`, `captioner` (what wrote it), `answers` if asked."""

    name = "caption"
    reads_images = True
    writes_images = False

    def __init__(self, config: CaptionConfig) -> None:
        self._config = config
        self.batch_size = config.batch_size
        self._model: Captioner | None = None

    def setup(self) -> None:
        self._model = load_captioner(self._config)

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        assert self._model is not None, "setup() comes first"
        images = [decode_item(item.image) for item in batch]
        readable = [image for image in images if not isinstance(image, Fail)]
        descriptions = iter(self._model.describe(readable) if readable else [])
        return [image if isinstance(image, Fail) else self._judge(next(descriptions)) for image in images]

    def teardown(self) -> None:
        self._model = None

    def _judge(self, description: Description) -> Keep | Drop:
        assert self._model is not None
        outcome = choose(description, self._config)
        assert isinstance(outcome, Keep | Drop)
        return replace(outcome, row={**outcome.row, "captioner": self._model.provenance})


def load_captioner(config: CaptionConfig) -> Captioner:
    """BLIP for folders of model_type "blip" (or none), any image-text-to-text model otherwise. Raises ConfigError if it does not load."""
    from generation.backends.captioner_files import is_blip, local_folder

    folder = local_folder(config.model)
    if is_blip(folder):
        from generation.backends.blip import BlipCaptioner

        return BlipCaptioner(config, folder)
    from generation.backends.vlm import VlmCaptioner

    return VlmCaptioner(config, folder)
