"""Picture -> caption, and the gate behind it. Reads the recropped pictures; `annotate` reads the captions."""

from collections.abc import Sequence

from generation.backends.blip import BlipCaptioner
from generation.caption_gate import caption_reason
from generation.config import CaptionConfig
from generation.images import decode_item
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome


class CaptionStage:
    """Adds `caption`, `captions` (a list that begins with it) and `captioner` (what wrote it)."""

    name = "caption"
    reads_images = True
    writes_images = False

    def __init__(self, config: CaptionConfig) -> None:
        self._config = config
        self.batch_size = config.batch_size
        self._model: BlipCaptioner | None = None

    def setup(self) -> None:
        self._model = BlipCaptioner(self._config)

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        assert self._model is not None, "setup() comes first"
        images = [decode_item(item.image) for item in batch]
        readable = [image for image in images if not isinstance(image, Fail)]
        captions = iter(self._model.caption(readable) if readable else [])
        return [image if isinstance(image, Fail) else self._judge(next(captions)) for image in images]

    def teardown(self) -> None:
        self._model = None

    def _judge(self, caption: str) -> Outcome:
        assert self._model is not None
        row = {"caption": caption, "captions": [caption], "captioner": self._model.provenance}
        reason = caption_reason(caption, self._config)
        return Keep(row) if reason is None else Drop(reason, row)
