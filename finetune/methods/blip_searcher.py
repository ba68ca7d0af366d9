"""BLIP as a searcher: a shortlist by cosine, re-ranked by the matching head."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from finetune.augment import paste
from finetune.augment_settings import PictureConfig
from finetune.colour import ColourClassifier, load_colours
from finetune.data import decode
from finetune.methods.blip_start import blip_config, saved_tokenizer
from finetune.methods.files import read_config
from finetune.methods.pairs import Size
from finetune.models.blip import BlipRetrieval
from finetune.models.blip_tokenizer import BlipTokenizer
from finetune.recipes import BlipObjective
from pipeline.config import build
from pretrain.augment import normalise
from pretrain.checkpoint import METADATA_FILE, read_facts, read_weights
from pretrain.models.layout import load_whole
from pretrain.retrieval.encode import ImageFeatures, TextFeatures
from pretrain.retrieval.gallery import TEXT_BATCH

BELOW = 1e-3  # between the last re-ranked picture and the first that the shortlist leaves out


class BlipSearcher:
    """Cosine shortlist, then match logit + cosine. With a colour classifier, vehicles get the patch of the colour that it sees."""

    has_matching = True

    def __init__(
        self, model: BlipRetrieval, tokenizer: BlipTokenizer, image: PictureConfig, config: BlipObjective, colours: ColourClassifier | None
    ) -> None:
        self.model, self.tokenizer, self.image, self.config, self.colours = model, tokenizer, image, config, colours

    @property
    def device(self) -> torch.device:
        return self.model.temp.device

    def pixels(self, picture: bytes, where: str) -> np.ndarray:
        side = self.model.config.vision_config.image_size
        decoded = decode(picture, Size(side, side), where, self.image.square)
        return normalise(paste(decoded, self.colours.colour(decoded) if self.colours else None), self.image.mean, self.image.std)

    @torch.no_grad()
    def embed_images(self, pixels: Tensor) -> ImageFeatures:
        return ImageFeatures(*self.model.encode_image(pixels.to(self.device)))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> TextFeatures:
        ids, mask = (t.to(self.device) for t in self.tokenizer(texts, self.config.max_tokens, self.config.max_words))
        feat = torch.cat([self.model.encode_text(i, m) for i, m in zip(ids.split(TEXT_BATCH), mask.split(TEXT_BATCH), strict=True)])
        return TextFeatures(ids, mask, feat)

    @torch.no_grad()
    def match(self, texts: TextFeatures, rows: Tensor, image_embeds: Tensor) -> Tensor:
        return self.model.match_logits(texts.embeds[rows], texts.mask[rows], image_embeds, self.tokenizer.encode_id)[:, 1].float()

    def fuse(self, similarity: Tensor, top: Tensor, scores: Tensor) -> Tensor:
        """What the shortlist leaves out keeps the order of its cosines, just below: a far lower place would outweigh all else in a mean."""
        cosines = similarity.gather(1, top)
        reranked = cosines + scores
        drop = reranked.min(1, keepdim=True).values - BELOW - cosines.min(1, keepdim=True).values
        return similarity.add_(drop).scatter_(1, top, reranked)


def open_blip_searcher(folder: Path, device: torch.device) -> BlipSearcher:
    """A checkpoint folder of the BLIP recipe. Raises ContractError if it is of another recipe or not whole."""
    values = read_config(folder, "blip")
    tokenizer = saved_tokenizer(folder)
    model = BlipRetrieval(blip_config(values["blip"], len(tokenizer)), values["queue_size"])
    load_whole(model, read_weights(folder), str(folder))
    search = read_facts(folder).get("search", {})
    picture = build(PictureConfig, search.get("picture", {}), str(folder / METADATA_FILE))
    objective = build(BlipObjective, search.get("objective", {}), str(folder / METADATA_FILE))
    return BlipSearcher(model.to(device).eval(), tokenizer, picture, objective, load_colours(folder))
