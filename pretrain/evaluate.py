"""A pre-trained checkpoint on held-out shards: how well sentences find pictures, and prompts attributes. No fine-tuning."""

from pathlib import Path
from typing import Any

import numpy as np

from pretrain import checkpoint
from pretrain.captions import pre_caption
from pretrain.config import PretrainConfig
from pretrain.data import evaluation_pixels, identity_of
from pretrain.engine import pick_device
from pretrain.labelling import labelling
from pretrain.mixture import open_samples
from pretrain.models.aptm import APTM
from pretrain.retrieval.attributes import balanced_accuracies, predicted_labels, prompt_scores
from pretrain.retrieval.encode import encode_images, encode_texts, similarity_matrix
from pretrain.retrieval.metrics import retrieval_metrics
from pretrain.retrieval.rerank import fuse_as_published, shortlist_scores
from pretrain.tokenizer import CaptionTokenizer


def evaluate(config: PretrainConfig, folder: Path) -> dict[str, dict[str, Any]]:
    """{"retrieval": metrics of the full protocol, "similarity": of ITC alone, "attributes": balanced accuracy by name, "data": counts}.

    Every held-out caption is a query, every held-out picture of the same person relevant. Fractions. Attributes that the split does not
    show in both states are left out; "mean" is over the others.
    """
    loaded = checkpoint.load_model(folder, pick_device(config.engine.device))
    return score_split(config, loaded.model, loaded.tokenizer)


def score_split(config: PretrainConfig, model: APTM, tokenizer: CaptionTokenizer) -> dict[str, dict[str, Any]]:
    """The same of a model in eval mode."""
    reader = open_samples(config.data.shards, config.data.eval_split, config.data.attributes is not None)
    metas = [reader.read(number).meta for number in range(len(reader))]
    captions = [pre_caption(meta.caption, config.text.max_words, config.text.clean) for meta in metas]
    ids = [identity_of(reader, config.data, number, meta) for number, meta in enumerate(metas)]
    images = encode_images(model, evaluation_pixels(reader, config, config.eval.batch_size))
    texts = encode_texts(model, tokenizer, captions, config.text.max_tokens)
    similarity = similarity_matrix(texts, images)
    scores = fuse_as_published(shortlist_scores(model, texts, images, config.eval.shortlist), similarity, config.eval.published_processes)
    labels = labelling(config.data.attributes, reader.attribute_space)
    prompts = encode_texts(model, tokenizer, labels.space.prompts, None)
    predicted = predicted_labels(prompt_scores(model, prompts, images).cpu().numpy())
    accuracies = balanced_accuracies(predicted, np.array([labels.of(meta) for meta in metas]))
    named = {name: float(value) for name, value in zip(labels.space.names, accuracies, strict=True) if not np.isnan(value)}
    return {
        "data": {"queries": len(captions), "gallery": len(reader), "persons": len(set(ids))},
        "retrieval": retrieval_metrics(scores.cpu().numpy(), ids, ids),
        "similarity": retrieval_metrics(similarity.cpu().numpy(), ids, ids),
        "attributes": {"mean": float(np.mean(list(named.values()))) if named else float("nan"), **named},
    }
