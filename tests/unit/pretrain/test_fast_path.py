"""The step that trains equals the step of the research code, and never makes the host wait for the device."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.paper_path import OneByOne, paper_terms, paper_texts
from pipeline.contracts.attributes import PERSON_27
from pretrain.chance import Chance
from pretrain.data import Batch
from pretrain.draws import RecordedDraws
from pretrain.engine import build_engine
from pretrain.losses.itm import NegativeWeights
from pretrain.masking import Masked, Masker
from pretrain.models.aptm import APTM
from pretrain.models.settings import AptmConfig, TextConfig, VisionConfig
from pretrain.objective import Texts, pretrain_terms, pretrain_weights, weighted_total
from pretrain.optim import parameter_groups
from pretrain.settings import EngineConfig, MaskingConfig, ObjectiveConfig, OptimConfig
from pretrain.step import PretrainStep
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer

CAPTIONS = ["a man in a black shirt", "a woman wears a red dress and a hat", "a zebra", "a boy with a backpack in blue trousers"]
HOST_WAITS = ("_local_scalar_dense", "nonzero", "multinomial", "unique", "masked_select", "is_nonzero", "equal", "bincount")
"""Operations whose result, or its shape, the host must know before it goes on."""


@pytest.fixture(scope="module")
def tokenizer() -> CaptionTokenizer:
    return CaptionTokenizer(EMBEDDED_VOCAB)


@pytest.fixture
def model(tokenizer: CaptionTokenizer) -> APTM:
    """Weights larger than at the start of a training, so that a mistake shows; neither dropout nor DropPath."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"height": 64, "width": 32, "embed_dim": 8, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 2)}
    vision = VisionConfig(**shape, window_size=4, drop_path=0.0, init_std=0.2)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "num_layers": 5, "fusion_layer": 2, "max_positions": 64}
    text = TextConfig(vocab_size=len(tokenizer), **shape, dropout=0.0, init_std=0.15)
    return APTM(AptmConfig(vision=vision, text=text, embed_dim=16))


class Recording(OneByOne):
    """Draws one by one and remembers."""

    def __init__(self) -> None:
        self.drawn: dict[str, Any] = {}

    def negatives(self, weights: NegativeWeights) -> tuple[Tensor, Tensor]:
        return self.drawn.setdefault("negatives", super().negatives(weights))

    def prompts(self, num_prompts: int, count: int) -> Tensor:
        return self.drawn.setdefault("prompts", super().prompts(num_prompts, count))

    def positives(self, matches: Tensor) -> tuple[Tensor, Tensor]:
        return self.drawn.setdefault("positives", super().positives(matches))

    def replay(self) -> RecordedDraws:
        return RecordedDraws(**{name: [value] for name, value in self.drawn.items()})


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    """Pictures; persons, the first and the last the same; labels, some not stated, one attribute by nobody."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(-1, 2, (4, 27), generator=generator)
    labels[:, 5] = -1
    return torch.randn(4, 3, 64, 32, generator=generator), torch.tensor([1, 2, 3, 1]), labels


def _gradients(model: APTM, terms: dict[str, Tensor], config: ObjectiveConfig) -> dict[str, Tensor]:
    model.zero_grad()
    weighted_total(terms, pretrain_weights(config)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("candidates", ["tokens", "padded"])
def test_all_losses_and_gradients_equal_those_of_the_paper_path(model: APTM, tokenizer: CaptionTokenizer, candidates: str) -> None:
    """Losses to 1e-5, gradients to 1e-5 of their norm. The paper path pads captions to 56, the fast path as far as the batch needs."""
    masker, config, rng, draws = Masker(tokenizer, MaskingConfig(mlm_candidates=candidates)), ObjectiveConfig(), Random(0), Recording()
    image, persons, labels = _batch()
    texts, prompts = paper_texts(tokenizer, masker, CAPTIONS, 56, rng), paper_texts(tokenizer, masker, PERSON_27.prompts, None, rng)
    paper = paper_terms(model, image, texts, persons, labels, prompts, draws, config)
    expected = _gradients(model, paper, config)
    assert texts.masked is not None
    longest = int(texts.mask.sum(1).max()) if candidates == "tokens" else 56
    masked = Masked(texts.masked.ids[:, :longest], texts.masked.positions, texts.masked.targets)
    trimmed = Texts(texts.ids[:, :longest], texts.mask[:, :longest], masked)
    fast = pretrain_terms(model, image, trimmed, persons, labels, prompts, draws.replay(), config)
    found = _gradients(model, fast, config)
    assert {name: fast[name].item() for name in paper} == pytest.approx({name: paper[name].item() for name in paper}, abs=1e-5)
    assert found.keys() == expected.keys() == {name for name, _ in model.named_parameters()}
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-5 * max(1.0, float(gradient.norm())), name


class NoWaiting(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        assert name not in HOST_WAITS, f"{name} makes the host wait"
        if name in ("index", "index_put", "index_put_"):
            assert not any(i is not None and i.dtype == torch.bool for i in args[1]), "a bool mask has an unknown number of rows"
        return func(*args, **(kwargs or {}))


def test_a_whole_step_never_waits_for_the_device(model: APTM, tokenizer: CaptionTokenizer) -> None:
    """Masks, draws, losses, backward, gradient norm, clipping and update: all of a step but `loop.agree`, which asks if all is finite."""
    masker, chance = Masker(tokenizer, MaskingConfig()), Chance(0, 0, torch.device("cpu"))
    image, persons, labels = _batch()
    batch, prompts = Batch(image, Texts(*tokenizer(CAPTIONS, 56)), persons, labels), Texts(*tokenizer(PERSON_27.prompts, None))
    step, optim = PretrainStep(model, ObjectiveConfig(), "bfloat16"), OptimConfig(clip_norm=1.0)
    engine = build_engine(step, parameter_groups(model, model.config, optim), optim, EngineConfig(kind="torch"), torch.device("cpu"))
    before = model.temp.item()
    with NoWaiting():
        batch = replace(batch.to(engine.device), texts=chance.masked(masker, batch.texts, 0, "captions"))
        step.begin()
        terms = engine(batch, chance.masked(masker, prompts, 0, "prompts"), chance.start(0))
        engine.backward(weighted_total(terms, pretrain_weights(ObjectiveConfig())))
        norm = engine.gradient_norm()
        engine.step(1.0)
    assert norm > 0
    assert model.temp.item() != before
    with pytest.raises(AssertionError, match="wait"), NoWaiting():
        norm.item()
