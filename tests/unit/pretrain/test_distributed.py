"""What several ranks compute together is what one process computes with the whole batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.contracts.attributes import PERSON_27
from pretrain.data import Batch
from pretrain.distributed import any_rank, check_group_size, gather_rows, mean_over_ranks
from pretrain.draws import RecordedDraws
from pretrain.losses.itc import Pairs, itc_loss
from pretrain.losses.mam import positive_matches
from pretrain.masking import Masker
from pretrain.models.aptm import APTM
from pretrain.models.settings import AptmConfig, TextConfig, VisionConfig
from pretrain.objective import Pictures, Texts, itc_term, pretrain_weights, weighted_total
from pretrain.rendezvous import SILENCE_S
from pretrain.settings import MaskingConfig, ObjectiveConfig
from pretrain.step import PretrainStep
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
from tests.unit.pretrain.ranks import run_ranks

BATCH = 8
CAPTIONS = ["a man", "a woman wears a red dress and a hat", "a boy with a backpack", "a girl in a long white dress with a bag", "a hat",
            "blue trousers and a black shirt", "an old man in grey", "a woman"]  # fmt: skip
PROMPTS = torch.tensor([3, 10, 23, 40, 53])


def _step() -> PretrainStep:
    """Weights larger than at the start, so that a mistake shows; no dropout."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"height": 64, "width": 32, "embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2)}
    vision = VisionConfig(**shape, window_size=4, drop_path=0.0, init_std=0.2)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "num_layers": 3, "fusion_layer": 1, "max_positions": 64}
    text = TextConfig(vocab_size=len(CaptionTokenizer(EMBEDDED_VOCAB)), **shape, dropout=0.0, init_std=0.15)
    return PretrainStep(APTM(AptmConfig(vision=vision, text=text, embed_dim=16)), ObjectiveConfig(), "float32")


def _data() -> tuple[Batch, Texts]:
    """A batch whose ranks differ in everything that is counted: hidden pieces, stated attributes, matching prompts."""
    generator, tokenizer = torch.Generator().manual_seed(1), CaptionTokenizer(EMBEDDED_VOCAB)
    masker = Masker(tokenizer, MaskingConfig())
    ids, mask = tokenizer(CAPTIONS, 56)
    texts = Texts(ids, mask, masker.batch(ids, mask, generator))
    ids, mask = tokenizer(PERSON_27.prompts, None)
    prompts = Texts(ids, mask, masker.batch(ids, mask, generator))
    labels = torch.randint(-1, 2, (BATCH, 27), generator=generator)
    labels[: BATCH // 2, 5], labels[:, 6] = -1, -1
    return Batch(torch.randn(BATCH, 3, 64, 32, generator=generator), texts, torch.arange(BATCH) % 7, labels), prompts


def _part(batch: Batch, rows: slice) -> Batch:
    assert batch.texts.masked is not None
    texts = Texts(batch.texts.ids[rows], batch.texts.mask[rows], batch.texts.masked[torch.arange(BATCH)[rows]])
    return Batch(batch.image[rows], texts, batch.identities[rows], batch.labels[rows])


def _choices(world: int, labels: Tensor) -> list[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Of each rank, in its own numbers: negatives, and for each prompt that is true of some image of its own, the first of them."""
    local = BATCH // world
    neighbour = (torch.arange(local) + 1) % local
    found = []
    for rank in range(world):
        matches = positive_matches(labels[rank * local : (rank + 1) * local])
        prompts = matches.any(0).nonzero()[:, 0]
        found.append(((neighbour, neighbour), (prompts, matches.int().argmax(0)[prompts])))
    return found


def _whole_draws(world: int, labels: Tensor) -> RecordedDraws:
    """The choices of all ranks in the numbers of the whole batch."""
    local, choices = BATCH // world, _choices(world, labels)
    negatives = tuple(torch.cat([c[0][side] + rank * local for rank, c in enumerate(choices)]) for side in (0, 1))
    prompts = torch.cat([c[1][0] for c in choices])
    images = torch.cat([c[1][1] + rank * local for rank, c in enumerate(choices)])
    return RecordedDraws([(negatives[0], negatives[1])], [PROMPTS], [(prompts, images)])


def _learn(step: nn.Module, batch: Batch, prompts: Texts, draws: RecordedDraws) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    terms = step(batch, prompts, draws)
    weighted_total(terms, pretrain_weights(ObjectiveConfig())).backward()
    gradients = {name.removeprefix("module."): p.grad for name, p in step.named_parameters() if p.grad is not None}
    return {name: terms[name].detach() for name in pretrain_weights(ObjectiveConfig())}, gradients


def _six_terms(rank: int, world: int) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
    batch, prompts = _data()
    local = BATCH // world
    negatives, positives = _choices(world, batch.labels)[rank]
    step = nn.parallel.DistributedDataParallel(_step())
    draws = RecordedDraws([negatives], [PROMPTS], [positives])
    terms, gradients = _learn(step, _part(batch, slice(rank * local, (rank + 1) * local)), prompts, draws)
    means = {name: mean_over_ranks(value) for name, value in terms.items()}
    return (means, gradients) if rank == 0 else None


@pytest.mark.parametrize("world", [2, 4])
def test_all_six_losses_and_their_gradients_equal_those_of_one_process(world: int, tmp_path: Path) -> None:
    """To 1e-5 in float32, gradients relative to the larger of 1 and their norm."""
    (terms, gradients), *_ = run_ranks(_six_terms, world, tmp_path, world)
    batch, prompts = _data()
    expected, expected_gradients = _learn(_step(), batch, prompts, _whole_draws(world, batch.labels))
    assert {n: v.item() for n, v in terms.items()} == pytest.approx({n: v.item() for n, v in expected.items()}, abs=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert (gradients[name] - gradient).norm() <= 1e-5 * max(1.0, float(gradient.norm())), name


class _Projections(nn.Module):
    """Stands in for the model where only ITC counts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.temp = nn.Linear(5, 4), nn.Parameter(torch.full((1,), 0.1))

    def forward(self, pairs: Pairs, config: ObjectiveConfig | None) -> Tensor:
        image, text = (F.normalize(self.layer(x), dim=1) for x in (pairs.image, pairs.text))
        if config is None:
            return itc_loss(image, text, self.temp, pairs.identities)
        return itc_term(self, Pictures(image, image, []), Pictures(text, text, []), pairs.identities, config)  # type: ignore[arg-type]


def _pairs() -> Pairs:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(BATCH, 5, generator=generator) for _ in range(2))
    return Pairs(image, text, torch.tensor([1, 2, 3, 1, 5, 6, 2, 1]))


def _rows(pairs: Pairs, rows: slice) -> Pairs:
    return Pairs(pairs.image[rows], pairs.text[rows], pairs.identities[rows])


def _bytes_written() -> int:
    """By this process, sockets included."""
    return next(int(line.split()[1]) for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("wchar"))


CASES = {
    "all": ObjectiveConfig(),
    "groups of 2": ObjectiveConfig(itc_group_size=2),
    "alone": ObjectiveConfig(itc_group_size=1),
    "chunks": ObjectiveConfig(itc_chunk=1),
    "published": ObjectiveConfig(itc_gradient="published"),
}


def _grouped(rank: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    own = _rows(_pairs(), slice(2 * rank, 2 * rank + 2))
    for name, config in CASES.items():
        module = nn.parallel.DistributedDataParallel(_Projections())
        loss = module(own, config)
        loss.backward()
        found[name] = mean_over_ranks(loss.detach()), module.module.layer.weight.grad, module.module.temp.grad
        del module, loss
    features = torch.randn(1000, 64, requires_grad=True)
    for size in (1, 2, 4):
        gather_rows(features, size).sum()  # makes the group, outside the measurement
        before = _bytes_written()
        gathered = gather_rows(features, size)
        middle = _bytes_written()
        gathered.sum().backward()
        found[f"bytes {size}"] = middle - before, _bytes_written() - middle
    found["patience"] = [g._get_backend(torch.device("cpu")).options._timeout.total_seconds() for g in dist.distributed_c10d._world.pg_map]
    found["flags"] = any_rank(torch.tensor([rank == 1, False])).tolist()
    with pytest.raises(Exception, match=r"does not divide the 4 ranks; accepted: \[1, 2, 4\]"):
        check_group_size(3)
    return found


def test_itc_of_groups_and_chunks_equals_the_plain_loss_and_costs_the_bytes_that_the_table_says(tmp_path: Path) -> None:
    """Four ranks of two. A group has the plain loss of its own samples; the published gradient is a quarter, except the temperature's."""
    (found, *_) = run_ranks(_grouped, 4, tmp_path)

    def plain(groups: list[slice]) -> tuple[Tensor, Tensor, Tensor]:
        module = _Projections()
        loss = torch.stack([module(_rows(_pairs(), group), None) for group in groups]).mean()
        loss.backward()
        return loss.detach(), module.layer.weight.grad, module.temp.grad  # type: ignore[return-value]

    whole, halves = plain([slice(0, 8)]), plain([slice(0, 4), slice(4, 8)])
    quarters = plain([slice(start, start + 2) for start in range(0, 8, 2)])
    expected = {"all": whole, "groups of 2": halves, "alone": quarters, "chunks": whole, "published": (whole[0], whole[1] / 4, whole[2])}
    for name, tensors in expected.items():
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found[name], tensors, strict=True)), name
    assert found["flags"] == [True, False]
    assert set(found["patience"][1:]) == {SILENCE_S}  # of the groups made here: others wait that long while the first rank validates
    for size in (1, 2, 4):
        sent = (size - 1) * 1000 * 64 * 4
        assert all(sent <= count <= 1.05 * sent + 4096 for count in found[f"bytes {size}"]), (size, found[f"bytes {size}"])
