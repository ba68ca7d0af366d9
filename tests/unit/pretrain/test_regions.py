"""torch.compile and gradient checkpointing: the same losses and gradients, and with checkpointing less memory."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ConfigError
from pretrain.chance import Chance
from pretrain.data import Batch
from pretrain.engine import Engine, build_engine, start_process_group
from pretrain.masking import Masker
from pretrain.models.aptm import APTM
from pretrain.models.regions import prepare_regions
from pretrain.models.settings import AptmConfig, TextConfig, VisionConfig
from pretrain.objective import Texts, pretrain_weights, weighted_total
from pretrain.optim import parameter_groups
from pretrain.settings import EngineConfig, MaskingConfig, ObjectiveConfig, OptimConfig
from pretrain.step import PretrainStep
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
from tests.unit.pretrain.memory import peak_bytes

TOKENIZER = CaptionTokenizer(EMBEDDED_VOCAB)
LONG = ["a woman with long hair wears a red dress and a hat and carries a large bag", "a man in a black shirt", "a boy runs"]
CAPTIONS = {
    "short": ["a man in a black shirt", "a woman in a red dress", "a zebra"],
    "long": LONG,
    "longer": [f"{caption} and a white umbrella in the left hand" for caption in LONG],
}
"""Three texts: no number of pairs that follows (6, 12, 69) is a dimension of the model too, which torch.compile would take for the same."""


def _model(dropout: float, depths: tuple[int, ...] = (2, 1), layers: int = 5) -> APTM:
    torch.manual_seed(0)
    vision = VisionConfig(
        height=64,
        width=32,
        embed_dim=16,
        depths=depths,
        num_heads=(1, 2)[: len(depths)],
        window_size=4,
        drop_path=2 * dropout,
        init_std=0.2,
    )
    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "num_layers": layers, "fusion_layer": 2}
    text = TextConfig(vocab_size=len(TOKENIZER), **shape, max_positions=64, dropout=dropout, init_std=0.15)
    return APTM(AptmConfig(vision=vision, text=text, embed_dim=24)).train()


class Work:
    """The step of one batch on a model; `captions` decide its length."""

    def __init__(self, model: APTM) -> None:
        self.model, self.config, self.chance = model, ObjectiveConfig(), Chance(0, 0, torch.device("cpu"))
        self.step = PretrainStep(model, self.config, "float32")
        self.masker = Masker(TOKENIZER, MaskingConfig())

    def forward(self, captions: list[str], engine: Engine | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        image = torch.randn(len(captions), 3, 64, 32, generator=generator)
        labels = torch.randint(-1, 2, (len(captions), len(PERSON_27)), generator=generator)
        texts, prompts = Texts(*TOKENIZER(captions, 56)), Texts(*TOKENIZER(PERSON_27.prompts, None))
        texts, prompts = self.chance.masked(self.masker, texts, 0, "captions"), self.chance.masked(self.masker, prompts, 0, "prompts")
        self.step.begin()
        terms = (engine or self.step)(Batch(image, texts, torch.arange(len(captions)), labels), prompts, self.chance.start(0))
        return weighted_total(terms, pretrain_weights(self.config))

    def gradients(self, captions: list[str]) -> dict[str, Tensor]:
        """And the loss, under the name `total`."""
        self.model.zero_grad()
        total = self.forward(captions)
        total.backward()
        return {"total": total.detach(), **{n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None}}


@pytest.mark.parametrize("part", ["vision", "text", "all"])
def test_checkpointing_changes_no_bit_of_losses_and_gradients_with_dropout_on(part: Any) -> None:
    work = Work(_model(dropout=0.1))
    plain = work.gradients(LONG)
    prepare_regions(work.model, EngineConfig(gradient_checkpointing=part))
    again = work.gradients(LONG)
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_checkpointing_lowers_the_peak_of_a_step() -> None:
    peaks = {}
    for part in ("none", "vision", "text", "all"):
        work = Work(_model(dropout=0.1, depths=(4, 1), layers=8))
        prepare_regions(work.model, EngineConfig(gradient_checkpointing=part))
        _, peaks[part], _ = peak_bytes(functools.partial(work.gradients, LONG))
    assert peaks["vision"] < 0.97 * peaks["none"]
    assert peaks["text"] < 0.8 * peaks["none"]
    assert peaks["all"] < 0.6 * peaks["none"]


def test_evaluation_runs_the_plain_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batches have all sizes: each would be compiled, and nothing is to be recomputed."""

    def never(plain: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def fail(*args: Any) -> None:
            raise AssertionError("trained code in an evaluation")

        return fail

    monkeypatch.setattr(torch, "compile", never)
    model = _model(dropout=0.1)
    before = model.eval().encode_image(torch.ones(1, 3, 64, 32))[1]
    prepare_regions(model, EngineConfig(compile=True))
    assert torch.equal(model.encode_image(torch.ones(1, 3, 64, 32))[1], before)
    with pytest.raises(AssertionError, match="trained code"):
        model.train().encode_image(torch.ones(1, 3, 64, 32))


def test_a_model_without_such_regions_is_refused() -> None:
    with pytest.raises(ConfigError, match="leave both out"):
        prepare_regions(nn.Linear(2, 2), EngineConfig(compile=True))
    prepare_regions(nn.Linear(2, 2), EngineConfig())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_compiled_losses_and_gradients_are_those_of_eager_under_deepspeed_too_and_lengths_do_not_compile_anew() -> None:
    """float32, inductor: the loss to 1e-5 of itself, each gradient to 1e-4 of its norm; one and the same code for all lengths of texts."""
    work = Work(_model(dropout=0.0, depths=(1,), layers=4))
    expected = {length: work.gradients(captions) for length, captions in CAPTIONS.items()}
    torch._dynamo.reset()
    prepare_regions(work.model, EngineConfig(compile=True))
    first = work.gradients(CAPTIONS["short"])
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs > 0
    found = {"short": first} | {length: work.gradients(CAPTIONS[length]) for length in ("long", "longer")}
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    for length, values in found.items():
        for name, value in values.items():
            wanted = expected[length][name]
            assert (value - wanted).norm() <= 1e-4 * wanted.norm() + 1e-6, (length, name)
        assert torch.allclose(values["total"], expected[length]["total"], rtol=1e-5)

    config, optim, device = EngineConfig(zero_stage=1, compile=True, device="cpu"), OptimConfig(), torch.device("cpu")
    start_process_group(config, device)
    work.model.zero_grad()
    engine = build_engine(work.step, parameter_groups(work.model, work.model.config, optim), optim, config, device)
    total = work.forward(CAPTIONS["long"], engine)
    engine.backward(total)
    assert torch.allclose(total, expected["long"]["total"], rtol=1e-5)
    squares = [value.norm().item() ** 2 for name, value in expected["long"].items() if name != "total"]
    assert float(engine.gradient_norm()) == pytest.approx(sum(squares) ** 0.5, rel=1e-4)
    engine.step(1.0)
    assert work.forward(CAPTIONS["long"], engine).item() != total.item()
