"""Attribute recognition with prompts: which prompt of each pair matches the picture better, and how good that is."""

import numpy as np
import torch
from torch import Tensor

from pipeline.contracts.errors import ContractError
from pretrain.models.aptm import APTM
from pretrain.retrieval.encode import ImageFeatures, TextFeatures
from pretrain.retrieval.rerank import match_scores


def prompt_scores(model: APTM, prompts: TextFeatures, images: ImageFeatures) -> Tensor:
    """(G, P) match logits of every picture with every one of the P = 2A prompts."""
    num_images, num_prompts = len(images.embeds), len(prompts.embeds)
    columns = torch.arange(num_images, device=images.embeds.device).repeat_interleave(num_prompts)
    rows = torch.arange(num_prompts, device=images.embeds.device).repeat(num_images)
    return match_scores(model, prompts, images, rows, columns).view(num_images, num_prompts)


def predicted_labels(scores: np.ndarray) -> np.ndarray:
    """(G, 2A) -> (G, A) of 0 and 1: the better prompt of each pair, the first in a tie. Raises ContractError for a score that is NaN."""
    if (bad := np.flatnonzero(np.isnan(scores).any(1))).size:
        raise ContractError(
            f"picture {bad[0]} has a score of nan ({bad.size} of {len(scores)} have such); the weights are probably not finite: "
            f"score another checkpoint"
        )
    return (scores[:, 1::2] > scores[:, ::2]).astype(np.int64)


def attribute_metrics(predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """PA-100K's protocol, fractions; predicted and labels (G, A) of 0 and 1.

    mean_accuracy: mean over attributes of (TPR + TNR) / 2. accuracy, precision, recall: means over pictures; f1 from those two means.
    A picture where nothing is predicted makes precision NaN, as published.
    """
    said, true = predicted == 1, labels == 1
    both = said & true
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = both.sum(0) / true.sum(0), (~said & ~true).sum(0) / (~true).sum(0)
        accuracy = float((both.sum(1) / (said | true).sum(1)).mean())
        precision, recall = float((both.sum(1) / said.sum(1)).mean()), float((both.sum(1) / true.sum(1)).mean())
        f1 = 2 * precision * recall / (precision + recall)
    return {
        "mean_accuracy": float(((rates[0] + rates[1]) / 2).mean()),
        "accuracy": accuracy,
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }


def balanced_accuracies(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(A,) mean of the two classes' recall, over pictures that state the attribute (label not -1); NaN where a class is absent."""
    with np.errstate(invalid="ignore"):
        recalls = [((predicted == value) & (labels == value)).sum(0) / (labels == value).sum(0) for value in (0, 1)]
    return (recalls[0] + recalls[1]) / 2
