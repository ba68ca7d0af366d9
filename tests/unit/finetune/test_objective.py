"""Loss terms, second views, batches."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.config import FinetuneConfig, FinetuneObjective
from finetune.data import TrainingLines, train_batches
from finetune.initialize import start_model
from finetune.objective import step_terms, term_weights
from finetune.text_views import second_view
from pipeline.config import build
from pretrain.chance import Chance
from pretrain.draws import RecordedDraws
from pretrain.masking import Masker
from pretrain.objective import Texts
from pretrain.parity.losses import FINETUNE_WEIGHTS, finetune_terms
from pretrain.settings import MaskingConfig

WORDS = st.lists(st.text("abcdefg0123456789", min_size=1, max_size=6), min_size=1, max_size=40)


@pytest.fixture
def prepared(tiny_tree):
    """A model in eval mode and one batch with masks."""
    config = build(FinetuneConfig, tiny_tree, "test")
    start = start_model(config)
    lines = TrainingLines.read(Path(config.data.folder))
    batch = next(train_batches(lines, config, start.model.config.vision, start.tokenizer.vocab_file, (0, 1), 0, 1))
    return start, batch, lines


def masked(start, batch) -> Texts:
    return Chance(1, 0, torch.device("cpu")).masked(Masker(start.tokenizer, MaskingConfig()), batch.texts, 0, "captions")


def test_without_attributes_the_terms_are_those_of_the_published_fine_tuning(prepared):
    start, batch, _ = prepared
    model, texts = start.model.eval(), masked(start, batch)
    count = len(batch.identities)
    # a negative of another identity for each text and each image
    other = torch.tensor([int((batch.identities != batch.identities[i]).nonzero()[0]) for i in range(count)])
    draws = [(other, other), (other, other)]
    batch = replace(batch, texts=texts)
    mine = step_terms(model, batch, None, RecordedDraws(draws), FinetuneObjective())
    published = finetune_terms(model, batch.image, texts, batch.second, batch.identities, RecordedDraws(draws))
    assert mine.keys() == published.keys()
    for name, value in published.items():
        torch.testing.assert_close(mine[name], value)
    assert term_weights(FinetuneObjective()) == FINETUNE_WEIGHTS


def test_itm_and_mlm_together_are_each_by_itself(prepared):
    start, batch, _ = prepared
    model, texts = start.model.eval(), masked(start, batch)
    other = torch.tensor([int((batch.identities != one).nonzero()[0]) for one in batch.identities])
    batch = replace(batch, texts=texts, second=None)
    both = step_terms(model, batch, None, RecordedDraws([(other, other)]), FinetuneObjective())
    alone = step_terms(model, batch, None, RecordedDraws([(other, other)]), FinetuneObjective(mlm_weight=0.0))
    alone |= step_terms(model, batch, None, RecordedDraws(), FinetuneObjective(itc_weight=0.0, itm_weight=0.0))
    assert both.keys() == alone.keys() == {"itc", "itm", "mlm"}
    for name, value in alone.items():
        torch.testing.assert_close(both[name], value)


def test_lines_of_one_attribute_vector_or_tag_share_a_class(prepared):
    _, _, lines = prepared
    classes = lines.classes()
    for i, one in enumerate(lines.records):
        for j, other in enumerate(lines.records):
            assert (classes[i] == classes[j]) == (one.identity == other.identity)


def test_vehicles_have_no_bits_and_pedestrians_all(prepared, tiny_config):
    start, _, lines = prepared
    stream = train_batches(lines, tiny_config, start.model.config.vision, start.tokenizer.vocab_file, (0, 3), 0, 1)
    assert [set((batch.labels != -1).sum(1).tolist()) for batch in stream] == [{21}, {0}, {0}]


def test_a_batch_depends_on_its_place_alone(prepared, tiny_config):
    start, _, lines = prepared
    arguments = (lines, tiny_config, start.model.config.vision, start.tokenizer.vocab_file)
    stream = train_batches(*arguments, (0, 4), 0, 1)
    late = [next(stream) for _ in range(4)][3]
    again = next(train_batches(*arguments, (3, 1), 0, 1))
    assert torch.equal(late.image, again.image)
    assert torch.equal(late.texts.ids, again.texts.ids)
    assert torch.equal(late.second.ids, again.second.ids)


@given(WORDS, st.integers(0, 2**32))
def test_a_second_view_holds_words_of_the_first_only(words, seed):
    view = second_view(" ".join(words), Random(seed)).split()
    assert view
    assert all(view.count(word) <= words.count(word) for word in view)


def test_second_views_differ_and_follow_from_the_seed():
    text = "A walking man who is an adult person aged 18-60, with his body facing the camera. He is wearning glasses."
    views = [second_view(text, Random(seed)) for seed in range(20)]
    assert views == [second_view(text, Random(seed)) for seed in range(20)]
    assert len(set(views)) > 10
    assert second_view("...", Random(0)) == "..."
