"""A3R's attribute completion: the colour and type that a vehicle's tag leaves open, filled in by an untuned CLIP.

Candidates are all colours and types that the tag does not name, in "This is a" + colour brand type and "A" + ...; the likelier one by
cosine wins. A brand is never guessed. Source: challenge.md 4 (A3R's code).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from finetune.augment_settings import PictureConfig
from finetune.datasets.challenge import Vehicle, images_folder, labels_path, read_labels
from finetune.methods.clip_searcher import ClipSearcher
from finetune.methods.clip_step import ClipModel
from finetune.methods.files import check_share
from finetune.models.clip_tokenizer import load_tokenizer
from finetune.models.clip_weights import fit, read_clip
from pipeline.contracts.challenge import COLOURS, TYPES, VehicleTag
from pipeline.contracts.errors import ContractError
from pipeline.fileio import write_bytes
from pretrain.models.layout import load_published
from pretrain.pictures import read_picture

FORMS = ("This is {article} {words}", "{article_capital} {words}")


def complete(searcher: ClipSearcher, root: Path, out: Path, split: str = "train", batch_size: int = 64) -> dict[str, int]:
    """Write image$tag$text$completed, one line per vehicle of the split; stops are left off, as in A3R's file. Returns counts."""
    records = [record for record in read_labels(labels_path(root, split)) if isinstance(record, Vehicle)]
    if not records:
        raise ContractError(f"{labels_path(root, split)} holds no vehicle line, so there is nothing to complete")
    memory: dict[VehicleTag, tuple[list[VehicleTag], Tensor]] = {}
    lines, filled = [], 0
    for chunk, features in _features(searcher, images_folder(root, split), records, batch_size):
        for record, feature in zip(chunk, features, strict=True):
            best = choose(searcher, record.tag, feature, memory)
            filled += best != record.tag
            lines.append(f"{record.image}${record.tag.words}${record.text.removesuffix('.')}${best.words}")
    write_bytes(out, ("\n".join(lines) + "\n").encode())
    return {"vehicles": len(records), "completed": filled}


def candidates(tag: VehicleTag) -> list[VehicleTag]:
    """All ways to fill colour and type; the tag's own values stay."""
    colours, types = (tag.colour,) if tag.colour else COLOURS, (tag.type,) if tag.type else TYPES
    return [VehicleTag(colour, tag.brand, kind) for colour in colours for kind in types]


def choose(
    searcher: ClipSearcher, tag: VehicleTag, feature: Tensor, memory: dict[VehicleTag, tuple[list[VehicleTag], Tensor]]
) -> VehicleTag:
    """The candidate whose better wording is nearest to the picture feature (D,). memory keeps the candidates' features."""
    if tag not in memory:
        options = candidates(tag)
        texts = [_sentence(form, option) for option in options for form in FORMS]
        memory[tag] = (options, searcher.embed_texts(texts).feat)
    options, texts_feat = memory[tag]
    cosines = (texts_feat @ feature.to(texts_feat)).view(len(options), len(FORMS)).amax(1)
    return options[int(cosines.argmax())]


def untuned_clip(source: Path, device: torch.device) -> ClipSearcher:
    """Published CLIP weights as they are, at their own picture size. Raises ContractError if tensors are missing."""
    state, config = read_clip(source)
    model = ClipModel(config)
    with torch.no_grad():
        report = load_published(model, {f"base_model.{name}": value for name, value in fit(state, config).items()}, str(source))
    check_share(type(report)(report.loaded, tuple(n for n in report.missing if n != "logit_scale"), report.unexpected), 1.0, str(source))
    folder = source if source.is_dir() else source.parent
    tokenizer = load_tokenizer(folder, config.vocab_size, with_mask=False)
    return ClipSearcher(model.to(device).eval(), tokenizer, PictureConfig())


def _sentence(form: str, tag: VehicleTag) -> str:
    article = "an" if tag.colour == "orange" else "a"
    return form.format(article=article, article_capital=article.capitalize(), words=tag.words)


def _features(searcher: ClipSearcher, folder: Path, records: Sequence[Vehicle], size: int) -> Iterator[tuple[Sequence[Vehicle], Tensor]]:
    for start in range(0, len(records), size):
        chunk = records[start : start + size]
        paths = [folder / record.image for record in chunk]
        if absent := [path for path in paths if not path.is_file()]:
            raise ContractError(f"{absent[0]} is named by the label file and missing; `passerby verify-data challenge` lists all such")
        yield chunk, searcher.embed_images(torch.from_numpy(np.stack([searcher.pixels(read_picture(p), str(p)) for p in paths]))).feat
