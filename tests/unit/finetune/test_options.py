"""Every switch changes what it is there for, and nothing else: terms of the same batch, or the batch itself, with and without it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune import tasks
from finetune.colour import coloured_lines
from finetune.config import DataConfig, EvalConfig
from finetune.datasets.challenge import read_labels
from finetune.datasets.lines import TrainingLines
from finetune.datasets.retrieval_split import of_kinds, read_test
from finetune.losses.matching import same_identity
from finetune.methods.base import embed
from finetune.methods.irra_step import _consensus
from finetune.methods.pairs import PairBatch
from finetune.methods.start import start_method
from finetune.recipes import BlipRecipe
from finetune.tasks import rank_split, rerank_cost
from pipeline.config import build
from pretrain.retrieval.gallery import Gallery
from tests.unit.finetune.test_methods import lines_of, recipe
from tests.unit.finetune.tiny_models import BLIP

CPU = torch.device("cpu")
EVERY = {"sdm": 1.0, "irm": 1.0, "mlm": 1.0, "id": 1.0, "ac": 1.0, "itc": 1.0, "tal": 1.0}
TEXTS = {"sdm", "irm", "id", "ac", "itc", "tal"}  # terms that see the tokens of a text, but for MLM, which hides its own


def told(value) -> str:
    """The id of a parameter, the same in every process: the order of a set is not."""
    return "+".join(sorted(value)) if isinstance(value, set) else str(value)


def method_of(name: str, miniature: Path, kinds=("pedestrian",), **changes):
    config = recipe(name, miniature, Path("unused"), **changes)
    config = replace(config, data=replace(config.data, kinds=tuple(kinds)), image=replace(config.image, **changes.get("image", {})))
    return start_method(config, lines_of(config), CPU)


def first_batch(method) -> PairBatch:
    return next(method.batches(0, 1, 0, 1))


def with_bits(batch: PairBatch) -> PairBatch:
    """Rows that include one another without being equal, of both genders, with texts that name a part of them."""
    labels = torch.zeros(4, 21, dtype=torch.int64)
    labels[1, 7] = labels[2, [7, 8]] = labels[3, [0, 7, 8]] = 1
    asked = labels.clone()
    asked[2, 8] = 0
    return replace(batch, labels=labels, asked=asked, identities=torch.tensor([0, 1, 2, 2]))


def terms_of(method, batch: PairBatch) -> dict[str, float]:
    method.model.eval()
    with torch.no_grad():
        found = method.step(*method.arguments(batch, 3))
    return {name: float(value) for name, value in found.items()}


@pytest.fixture(scope="module")
def usual(miniature):
    method = method_of("irra", miniature, objective=EVERY)
    batch = with_bits(first_batch(method))
    return batch, terms_of(method, batch)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"reading": "released"}, {"irm"}),
        ({"reading": "same"}, {"irm"}),
        ({"divergence": "forward"}, {"sdm", "irm"}),
        ({"text_bits": "mentioned"}, {"irm"}),
        ({"equal_bits": []}, {"irm"}),
        ({"ac_focus": 2.0}, {"ac"}),
        ({"ac_prior": 1.0}, {"ac"}),
        ({"noise_masking": 0.5}, TEXTS),
        ({"mask_everywhere": True}, TEXTS),
        ({"margin": 0.6}, {"tal"}),
        ({"tau": 0.2}, {"tal"}),
    ],
    ids=told,
)
def test_a_switch_of_irras_objective_changes_its_terms_alone(change, changed, usual, miniature):
    batch, before = usual
    after = terms_of(method_of("irra", miniature, objective=EVERY | change), batch)
    assert {name for name in before if abs(before[name] - after[name]) > 1e-6} == changed


@pytest.mark.parametrize("term", EVERY)
def test_a_term_without_weight_is_not_computed(term, usual, miniature):
    batch, before = usual
    assert set(terms_of(method_of("irra", miniature, objective=EVERY | {term: 0.0}), batch)) == set(before) - {term}


def test_the_share_of_masked_tokens_is_that_of_the_config(miniature):
    few, many = (
        int((first_batch(method_of("irra", miniature, objective={"mask_probability": p})).targets != 0).sum()) for p in (0.15, 0.9)
    )
    assert 0 < few < many


def test_pairs_that_look_wrong_are_left_out_of_the_alignment():
    torch.manual_seed(0)
    image = torch.nn.functional.normalize(torch.randn(24, 16), dim=1)
    text = image.clone()
    text[:4] = image[[1, 2, 3, 0]]  # four captions of other pictures
    assert _consensus(image, text).tolist() == [False] * 4 + [True] * 20
    assert same_identity(torch.arange(3)).tolist() == torch.eye(3).tolist()


@pytest.mark.parametrize(
    "change",
    [{"degrade": 1.0}, {"square": True}, {"flip": 1.0}, {"erasing": 1.0}, {"pad_px": 6}, {"crop_scale": 0.5}, {"operations": 2}],
    ids=told,
)
def test_an_augmentation_changes_the_pictures_and_not_the_texts(change, miniature):
    plain = {"flip": 0.0, "erasing": 0.0, "pad_px": 0}
    before, after = (first_batch(method_of("irra", miniature, image=plain | more)) for more in ({}, change))
    assert not torch.equal(before.image, after.image)
    assert torch.equal(before.ids, after.ids)


def test_tokens_are_cut_to_the_longest_text_of_a_batch_and_features_stay(miniature):
    method = method_of("irra", miniature, kinds=("vehicle",))
    texts = ["A white Audi.", "This is a red Balong Heavy Truck."]
    pairs = [type("Pair", (), {"text": text})() for text in texts]
    short, whole = method.tokens(pairs), method.tokenizer(texts, method.clip.context)
    assert short.shape[1] < whole.shape[1]
    assert (short == method.tokenizer.end_id).any(1).all()
    towers = method.model.base_model.eval()
    with torch.no_grad():
        torch.testing.assert_close(towers.text_tokens(short), towers.text_tokens(whole)[:, : short.shape[1]], atol=1e-5, rtol=1e-4)


def test_masked_texts_keep_their_padding_which_the_cross_former_sees(miniature):
    method = method_of("irra", miniature)
    batch = first_batch(method)
    assert batch.masked.shape == batch.targets.shape == (len(batch.ids), method.clip.context)
    assert batch.ids.shape[1] < method.clip.context


def test_a3rs_forms_of_vehicle_texts(miniature, tmp_path):
    line = next(line for line in lines_of(recipe("clip", miniature, Path("unused"))).records if line.kind == "vehicle")
    path = tmp_path / "completed.txt"
    path.write_text(f"{line.image}$x$y$white Audi SUV\n")
    goals = ({}, {"strip_article": True}, {"completed": str(path)})
    forms = [method_of("clip", miniature, ("vehicle",), objective=goal).text_of(line) for goal in goals]
    assert forms[0] == line.text
    assert line.text.endswith(forms[1] + ".")
    assert len(forms[1]) < len(line.text) - 1
    assert forms[2] == "white Audi SUV"


def test_the_suffix_goes_behind_vehicle_queries_only_and_changes_their_features(miniature):
    plain, seen = (method_of("clip", miniature, objective={"suffix": s}).searcher for s in ("", " image taken by cameras"))
    person = read_labels(miniature / "val" / "val_label.txt")[-1].text
    assert seen.query("A white Audi Sedan.") == "A white Audi Sedan image taken by cameras"
    assert seen.query(person) == plain.query(person) == person
    one, other = (searcher.embed_texts(["A white Audi Sedan.", person]).feat for searcher in (plain, seen))
    assert not torch.equal(one[0], other[0])
    torch.testing.assert_close(one[1], other[1])


def test_pictures_that_do_not_fit_into_memory_are_computed_again_for_the_same_scores(miniature, monkeypatch):
    searcher = method_of("blip", miniature, kinds=("vehicle",)).searcher
    split, config = read_test(miniature), EvalConfig(batch_size=2, shortlist=3)
    whole, computed, embed_images = rank_split(searcher, split, config), [], type(searcher).embed_images
    monkeypatch.setattr(tasks, "Gallery", lambda encode, size, tile, memory, shared: Gallery(encode, size, tile, 1, shared))
    monkeypatch.setattr(type(searcher), "embed_images", lambda self, pixels: computed.append(len(pixels)) or embed_images(self, pixels))
    np.testing.assert_allclose(rank_split(searcher, split, config), whole, atol=1e-5)
    assert sum(computed) > len(split.gallery)


def test_flipping_gives_a_picture_and_its_mirror_image_the_same_feature(miniature):
    searcher = method_of("irra", miniature).searcher
    searcher.model.eval()
    pixels = torch.randn(3, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    plain, mirrored = (embed(searcher, p, flip=True).feat for p in (pixels, pixels.flip(-1)))
    torch.testing.assert_close(plain, mirrored)
    torch.testing.assert_close(plain.norm(dim=1), torch.ones(3))
    assert not torch.allclose(plain, embed(searcher, pixels).feat)
    split = read_test(miniature)
    once, twice = (rank_split(searcher, split, EvalConfig(flip=flip)) for flip in (False, True))
    assert not np.array_equal(once, twice)


@pytest.mark.parametrize(
    ("change", "changed"), [({"alpha": 0.0}, {"fitc"}), ({"classes": "picture"}, {"fitc", "fitm"}), ({"momentum": 0.0}, {"fitc"})], ids=told
)
def test_a_switch_of_blips_objective_changes_its_terms(change, changed, miniature):
    """alpha grows over the first epoch, so step 3 is looked at; the second of two equal batches sees the first one's momentum copies."""
    found = []
    for more in ({}, change):
        method = method_of("blip", miniature, ("vehicle",), objective={"colour_patch": False} | more)
        batch = replace(first_batch(method), identities=torch.tensor([0, 0, 1, 2]))
        if more.get("classes") == "picture":
            batch = batch.with_identities(range(4))
        with torch.no_grad():
            for parameter in method.model.vision_model.parameters():
                parameter.add_(0.01)  # so that the momentum copies lag behind
        found.append(terms_of(method, batch))
    before, after = found
    assert {name for name in before if abs(before[name] - after[name]) > 1e-7} >= changed


def test_classes_are_tags_or_pictures(miniature):
    more = {"train": {"steps": 4, "global_batch": 12}}
    goals = ({"classes": "tag"}, {"classes": "picture"})
    tags, pictures = (first_batch(method_of("blip", miniature, ("vehicle",), objective=goal, **more)).identities for goal in goals)
    assert len(set(pictures.tolist())) == 12
    assert len(set(tags.tolist())) < 12


def test_captions_of_one_picture_share_its_class(people):
    goal = {"classes": "picture"}
    tree = {"method": "blip", "out": "unused", "data": {"name": "cuhk-pedes", "folder": str(people)}, "objective": goal}
    config = build(BlipRecipe, tree | {"model": {"config": BLIP}, "train": {"steps": 1, "global_batch": 12}}, "test")
    lines = TrainingLines.read(people, config.data)
    batch = next(start_method(config, lines, CPU).batches(0, 1, 0, 1))
    pictures = [key.partition("#")[0] for key in batch.keys]
    same = [[one == other for other in pictures] for one in pictures]
    assert (batch.identities[:, None] == batch.identities).tolist() == same
    assert len(set(pictures)) == 6


def test_the_colour_classifier_learns_from_no_more_lines_than_it_is_told(miniature):
    lines = TrainingLines.read(miniature, DataConfig(folder=str(miniature)))
    every = coloured_lines(lines)
    assert len(every) > 5
    assert len(coloured_lines(lines, len(every) - 1)) <= len(every) - 1


def test_a_colour_patch_is_on_every_training_picture_of_a_vehicle(miniature):
    plain = {"flip": 0.0, "erasing": 0.0, "pad_px": 0}
    methods = [method_of("blip", miniature, ("vehicle",), objective={"colour_patch": p}, image=plain) for p in (False, True)]
    before, after = (first_batch(method).image for method in methods)
    assert all(not torch.equal(a[:, :2, :2], b[:, :2, :2]) for a, b in zip(before, after, strict=True))
    assert torch.equal(before[:, :, 4:, 4:], after[:, :, 4:, 4:])


def test_random_weights_of_blip_tell_pictures_apart(miniature):
    searcher = method_of("blip", miniature, ("vehicle",)).searcher
    searcher.model.eval()
    feat = searcher.embed_images(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))).feat
    assert float(feat[0] @ feat[1]) < 0.9999


def test_the_cost_of_re_ranking_grows_with_the_shortlist(miniature):
    searcher = method_of("blip", miniature, ("vehicle",)).searcher
    searcher.model.eval()
    split = of_kinds(read_test(miniature), ("vehicle",))
    looked: list[int] = []
    match = searcher.match
    searcher.match = lambda texts, rows, embeds: looked.append(len(rows)) or match(texts, rows, embeds)
    costs = [rerank_cost(searcher, split, EvalConfig(shortlist=width)) for width in (1, 4)]
    assert [cost["shortlist"] for cost in costs] == [1, 4]
    assert looked == [len(split.queries), 4 * len(split.queries)]
    assert all(cost["cosine_ms"] > 0 and cost["reranked_ms"] > 0 for cost in costs)
