"""Evaluations of real size: what is held at once is bounded, pictures are read by several threads, and no score changes."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from finetune import tasks
from finetune.config import EvalConfig
from finetune.datasets.retrieval_split import RetrievalSplit
from finetune.methods.aptm_searcher import AptmSearcher
from finetune.methods.start import start_method
from finetune.tasks import rank_split, validation_task
from pretrain.parity.matrix import fuse
from pretrain.retrieval.encode import ImageFeatures, TextFeatures
from tests.unit.finetune.test_methods import lines_of, recipe

SIZE, LARGE = 7, 2**20  # texts and pictures; numbers that the matching head sees of one text


class Fake:
    """The feature of "5" and of the picture "5" is row 5 of a table; the matching head prefers the higher number."""

    has_matching, model = True, torch.nn.Identity()
    table = torch.nn.functional.normalize(torch.randn(SIZE, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    fuse = AptmSearcher.fuse

    def __init__(self) -> None:
        self.at_once: list[int] = []

    def pixels(self, picture: bytes, where: str) -> np.ndarray:
        return np.array([int(picture)])

    def embed_images(self, pixels: torch.Tensor) -> ImageFeatures:
        return ImageFeatures(pixels[:, None].float(), self.table[pixels[:, 0]])

    def embed_texts(self, texts: list[str]) -> TextFeatures:
        self.at_once.append(len(texts))
        numbers = torch.tensor([int(text) for text in texts])
        return TextFeatures(numbers[:, None].float().expand(-1, LARGE), numbers, self.table[numbers])  # takes up no memory

    def match(self, texts: TextFeatures, rows: torch.Tensor, image_embeds: torch.Tensor) -> torch.Tensor:
        return texts.embeds[rows, 0] * image_embeds[:, 0, 0]


def test_no_more_texts_are_held_than_fit_and_the_scores_are_those_of_all_together(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "TEXT_BATCH", 2)
    names = tuple(str(number) for number in range(SIZE))
    for name in names:
        (tmp_path / name).write_text(name)
    every = list(range(SIZE))
    split, searcher = RetrievalSplit(tmp_path, names, names, {"pedestrian": (every, every)}, None), Fake()
    small, large = (EvalConfig(shortlist=3, batch_size=2, memory_mb=mb) for mb in (24, 4096))  # a text takes 4 MB of half of that
    scores = rank_split(searcher, split, small)
    assert searcher.at_once == [1, 3, 3, 1]  # the longest first, to see its size
    np.testing.assert_array_equal(scores, rank_split(searcher, split, large))
    assert searcher.at_once[-1] == SIZE

    similarity = Fake.table @ Fake.table.T
    top = similarity.topk(3, dim=1).indices
    logits = torch.arange(SIZE)[:, None].float() * top
    whole = logits.min(1, keepdim=True).values.expand(SIZE, SIZE).scatter(1, top, logits)
    np.testing.assert_allclose(scores, fuse(whole, similarity), atol=1e-6)


def test_pictures_are_read_by_as_many_threads_as_the_data_has_workers(miniature, monkeypatch):
    config = recipe("irra", miniature, Path("unused"))
    searcher = start_method(config, lines_of(config), torch.device("cpu")).searcher
    plain = validation_task(config.data).run(searcher, config.eval)
    pixels, both = searcher.pixels, threading.Barrier(2)

    def together(picture: bytes, where: str) -> np.ndarray:
        both.wait(60)  # broken, and so an error, if nobody else reads meanwhile
        return pixels(picture, where)

    monkeypatch.setattr(searcher, "pixels", together)
    assert validation_task(replace(config.data, workers=2)).run(searcher, config.eval) == plain
