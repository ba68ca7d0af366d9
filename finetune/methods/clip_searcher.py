"""IRRA and CLIP as searchers: cosines of the global features, no matching head."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from finetune.augment_settings import PictureConfig
from finetune.data import decode
from finetune.datasets.routing import kind_of_query
from finetune.methods.clip_step import ClipModel
from finetune.methods.files import read_config
from finetune.models import clip
from finetune.models.clip_settings import ClipConfig
from finetune.models.clip_tokenizer import ClipTokenizer, saved_tokenizer
from finetune.models.irra import Irra, IrraConfig
from pipeline.config import build
from pipeline.contracts.errors import ConfigError
from pretrain.augment import normalise
from pretrain.checkpoint import METADATA_FILE, read_facts, read_weights
from pretrain.models.layout import load_whole
from pretrain.retrieval.encode import ImageFeatures, TextFeatures
from pretrain.retrieval.gallery import TEXT_BATCH


class ClipSearcher:
    """model.base_model is a Clip. suffix: put behind queries about vehicles, whose stop and article are taken off first."""

    has_matching = False

    def __init__(self, model: nn.Module, tokenizer: ClipTokenizer, image: PictureConfig, suffix: str = "") -> None:
        self.model, self.tokenizer, self.image, self.suffix = model, tokenizer, image, suffix

    @property
    def towers(self) -> clip.Clip:
        towers = self.model.base_model
        assert isinstance(towers, clip.Clip)
        return towers

    @property
    def device(self) -> torch.device:
        return self.towers.text_projection.device

    def pixels(self, picture: bytes, where: str) -> np.ndarray:
        return normalise(decode(picture, self.towers.config, where, self.image.square), self.image.mean, self.image.std)

    @torch.no_grad()
    def embed_images(self, pixels: Tensor) -> ImageFeatures:
        feature = clip.normalised(clip.image_feature(self.towers.image_tokens(pixels.to(self.device))))
        return ImageFeatures(feature.new_zeros(len(feature), 0), feature)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> TextFeatures:
        ids = self.tokenizer([self.query(text) for text in texts], self.towers.config.context).to(self.device)
        parts = [clip.text_feature(self.towers.text_tokens(part), part) for part in ids.split(TEXT_BATCH)]
        return TextFeatures(torch.zeros(len(ids), 0), ids, clip.normalised(torch.cat(parts)))

    def query(self, text: str) -> str:
        """A3R's form: "This is a white Audi Sedan." -> "This is a white Audi Sedan image taken by ..."; persons as they are."""
        return text.removesuffix(".") + self.suffix if self.suffix and kind_of_query(text) == "vehicle" else text

    def match(self, texts: TextFeatures, rows: Tensor, image_embeds: Tensor) -> Tensor:
        raise ConfigError("this model has no matching head; give a checkpoint of APTM or BLIP to re-rank with")

    def fuse(self, similarity: Tensor, top: Tensor, scores: Tensor) -> Tensor:
        return similarity


def open_clip_searcher(folder: Path, name: str, device: torch.device) -> ClipSearcher:
    """A checkpoint folder of either recipe."""
    values = read_config(folder, name)
    model: Irra | ClipModel = (
        Irra(build(IrraConfig, values, str(folder))) if name == "irra" else ClipModel(build(ClipConfig, values, str(folder)))
    )
    load_whole(model, read_weights(folder), str(folder))
    sizes = model.base_model.config
    assert isinstance(sizes, ClipConfig)
    search = read_facts(folder).get("search", {})
    tokenizer = saved_tokenizer(folder, sizes.vocab_size, name == "irra")
    picture = build(PictureConfig, search.get("picture", {}), str(folder / METADATA_FILE))
    return ClipSearcher(model.to(device).eval(), tokenizer, picture, search.get("suffix", ""))
