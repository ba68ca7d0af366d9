"""Retrieval on a split of the challenge: rank, measure, predict. Each kind of query is searched among pictures of its kind."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finetune.best import find_checkpoint
from finetune.config import EvalConfig, FinetuneConfig
from finetune.data import PictureFolder
from finetune.datasets.retrieval_split import RetrievalSplit, read_test, read_val
from finetune.submission import LIST_LENGTH, average_precision_at, official_average_precision, write_submission
from pipeline.config import build
from pipeline.contracts.errors import ContractError
from pretrain.augment import normalise
from pretrain.captions import pre_caption
from pretrain.checkpoint import LoadedModel, load_model
from pretrain.engine import pick_device
from pretrain.models.aptm import APTM
from pretrain.retrieval.encode import encode_images, encode_texts
from pretrain.retrieval.metrics import retrieval_metrics
from pretrain.retrieval.rerank import rerank
from pretrain.settings import AugmentConfig
from pretrain.tokenizer import CaptionTokenizer

PROTOCOL = "evaluation"  # entry of a checkpoint's metadata


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What an evaluation needs to know beside the model. Kept in the checkpoint, so that `predict` repeats what was validated."""

    max_tokens: int = 56
    max_words: int = 56
    clean: bool = False
    image: AugmentConfig = field(default_factory=AugmentConfig)  # mean and std count
    eval: EvalConfig = field(default_factory=EvalConfig)

    @classmethod
    def of(cls, config: FinetuneConfig) -> "Protocol":
        text = config.text
        return cls(max_tokens=text.max_tokens, max_words=text.max_words, clean=text.clean, image=config.image, eval=config.eval)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rank_split(model: APTM, tokenizer: CaptionTokenizer, split: RetrievalSplit, protocol: Protocol) -> np.ndarray:
    """(Q, G) float32 scores, higher is better; -inf for pictures of the other kind. Puts the model into eval mode and leaves it there."""
    model.eval()
    scores = np.full((len(split.queries), len(split.gallery)), -np.inf, np.float32)
    for rows, columns in split.routes.values():
        if rows and columns:
            captions = [pre_caption(split.queries[row], protocol.max_words, protocol.clean) for row in rows]
            places = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}  # equal texts are ranked once, so equally
            texts = encode_texts(model, tokenizer, list(places), protocol.max_tokens, protocol.eval.batch_size)
            images = encode_images(model, _pixels(split, columns, model, protocol))
            ranked = rerank(model, texts, images, protocol.eval.shortlist).float().cpu().numpy()
            scores[np.ix_(rows, columns)] = ranked[[places[caption] for caption in captions]]
    return scores


def measure(split: RetrievalSplit, scores: np.ndarray) -> dict[str, dict[str, float]]:
    """{"all" | "pedestrian" | "vehicle": scores}; a kind without queries is left out. Fractions, means over queries.

    recall@1, @5, @10, map, minp over the whole ranking; map@10 (denominator min(positives, 10)) and official (the organisers', whose
    denominator is the number of hits) over the first ten. Raises ContractError if the answers are not known or a query has none.
    """
    if split.relevant is None:
        raise ContractError(f"{split.folder}: no answers beside these pictures (test_gt.txt), so nothing can be measured")
    lists = ranked_names(split, scores)
    rows = [
        _measure_query(score, relevant, names, split.gallery) for score, relevant, names in zip(scores, split.relevant, lists, strict=True)
    ]
    chosen = {"all": list(range(len(rows)))} | {kind: queries for kind, (queries, _) in split.routes.items()}
    return {kind: {name: float(np.mean([rows[i][name] for i in places])) for name in rows[0]} for kind, places in chosen.items() if places}


def _measure_query(scores: np.ndarray, relevant: np.ndarray, names: Sequence[str], gallery: Sequence[str]) -> dict[str, float]:
    positives = [gallery[i] for i in np.flatnonzero(relevant)]
    return {
        **retrieval_metrics(scores[None], [1], relevant.astype(int).tolist()),
        f"map@{LIST_LENGTH}": average_precision_at(names, positives),
        "official": official_average_precision(names, positives),
    }


def ranked_names(split: RetrievalSplit, scores: np.ndarray, length: int = LIST_LENGTH) -> list[list[str]]:
    """The first `length` names for each query; ties keep the order of the gallery."""
    return [[split.gallery[i] for i in np.argsort(-row, kind="stable")[:length]] for row in scores]


def evaluate(config: FinetuneConfig, folder: Path, split_name: str) -> dict[str, dict[str, float]]:
    """Scores of a checkpoint on "val" or "test". A pre-trained checkpoint that was never fine-tuned is scored as it is."""
    loaded = load_model(find_checkpoint(folder), pick_device(config.engine.device))
    root = Path(config.data.folder)
    split = read_val(root) if split_name == "val" else read_test(root)
    return measure(split, rank_split(loaded.model, loaded.tokenizer, split, Protocol.of(config)))


def predict_submission(checkpoint: Path, data: Path, out: Path, device: str = "auto") -> dict[str, Any]:
    """Rank the test pictures for every query and write a submission; queries of equal text get equal lists.

    The protocol is the one that the checkpoint was validated with, the published one for a pre-trained checkpoint. Raises ContractError
    if the gallery is too small for a list of ten different names.
    """
    loaded, split = load_model(find_checkpoint(checkpoint), pick_device(device)), read_test(data)
    if len(split.gallery) < LIST_LENGTH:
        raise ContractError(
            f"{split.folder} holds {len(split.gallery)} pictures; a submission names {LIST_LENGTH} different ones per query"
        )
    scores = rank_split(loaded.model, loaded.tokenizer, split, _protocol(loaded, checkpoint))
    write_submission(out, list(zip(split.queries, ranked_names(split, scores), strict=True)))
    return {"submission": str(out), "queries": len(split.queries), "images": len(split.gallery)}


def _protocol(loaded: LoadedModel, where: Path) -> Protocol:
    return build(Protocol, loaded.metadata.get(PROTOCOL, {}), f"{where} (metadata)")


def _pixels(split: RetrievalSplit, columns: Sequence[int], model: APTM, protocol: Protocol) -> Iterator[Tensor]:
    pictures = PictureFolder(split.folder, model.config.vision)
    for start in range(0, len(columns), protocol.eval.batch_size):
        chunk = columns[start : start + protocol.eval.batch_size]
        yield torch.from_numpy(np.stack([normalise(pictures.get(split.gallery[i]), protocol.image) for i in chunk]))
