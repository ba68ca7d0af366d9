"""Tokeniser, vocabulary, cleaning and masks."""

import random
from pathlib import Path

import pytest
import torch

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.challenge import BITS_21
from pipeline.contracts.errors import ConfigError, ContractError
from pretrain.captions import pre_caption
from pretrain.masking import IGNORED, Masker
from pretrain.parity.masks import mask_one
from pretrain.settings import MaskingConfig
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer, resolve_vocab
from pretrain.vocabulary import build_vocabulary

CAPTIONS = ["a man in a black shirt with a backpack", "a woman wears a red dress and a hat"]


@pytest.fixture(scope="module")
def tokenizer() -> CaptionTokenizer:
    return CaptionTokenizer(EMBEDDED_VOCAB)


def test_a_text_starts_with_cls_and_ends_without_sep(tokenizer: CaptionTokenizer) -> None:
    ids, mask = tokenizer(["a man", "a man with a hat"], 56)
    pieces = [[tokenizer.pieces[i] for i in row] for row in ids]
    assert pieces == [["[CLS]", "a", "man", "[PAD]", "[PAD]", "[PAD]"], ["[CLS]", "a", "man", "with", "a", "hat"]]
    assert mask.tolist() == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]]


def test_max_tokens_counts_cls_and_pads_on_request(tokenizer: CaptionTokenizer) -> None:
    assert tokenizer(["a man with a hat"], 4)[0].shape == (1, 4)
    assert tokenizer(["a man"], 10, "max")[0].shape == (1, 10)
    assert tokenizer(["a man with a hat " * 30], None)[0].shape == (1, 151)


def test_the_shipped_vocabulary_knows_every_word_of_its_world(tokenizer: CaptionTokenizer) -> None:
    words = {word.strip(",") for text in (*PERSON_27.prompts, *BITS_21.prompts) for word in text.split()}
    assert [word for word in words if word not in tokenizer.pieces] == []


def test_no_english_text_holds_an_unknown_piece(tokenizer: CaptionTokenizer) -> None:
    ids, _ = tokenizer(["Zebra-striped sneakers; 42 (forty-two) naïve cafés & quips!"], None)
    assert "[UNK]" not in [tokenizer.pieces[i] for i in ids[0]]


def test_a_vocabulary_is_built_alike_twice_with_the_words_of_captions_and_templates() -> None:
    first, second = (build_vocabulary(["a man in a turquoise shirt"] * 3, 1500) for _ in range(2))
    assert first == second
    assert {"turquoise", "backpack", "volkswagen", "wearning"} <= set(first)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[PAD]\n[UNK]\nman\n", r"\[CLS\], \[SEP\], \[MASK\] missing"),
        ("[UNK]\n[PAD]\n[CLS]\n[SEP]\n[MASK]\n", "its id must be 0"),
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n", "twice"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "vocab.txt").write_text(content)
    with pytest.raises(ConfigError, match=message):
        CaptionTokenizer(resolve_vocab(str(tmp_path)))


def test_a_missing_vocabulary_names_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="or 'embedded'"):
        CaptionTokenizer(resolve_vocab(str(tmp_path / "no.txt")))


def test_a_caption_of_no_words_is_refused() -> None:
    with pytest.raises(ContractError, match="empty"):
        pre_caption(" !? ", clean=True)


def test_a_short_caption_keeps_its_own_spacing_and_a_long_one_loses_it() -> None:
    assert pre_caption("a  man\tin red", max_words=4) == "a  man\tin red"
    assert pre_caption("a  man\tin red", max_words=3) == "a man in"


def test_masked_slots_hold_the_original_pieces_and_unused_slots_are_ignored(tokenizer: CaptionTokenizer) -> None:
    masker = Masker(tokenizer, MaskingConfig(max_masks=4))
    ids, mask = tokenizer(CAPTIONS, None)
    masked = masker.batch(ids, mask, torch.Generator().manual_seed(3))
    used = masked.targets != IGNORED
    assert torch.equal(masked.targets[used], ids.gather(1, masked.positions)[used])
    assert (masked.positions[~used] == 0).all()
    changed = masked.ids != ids
    assert all(set(row.nonzero()[:, 0].tolist()) <= set(pos.tolist()) for row, pos in zip(changed, masked.positions, strict=True))


@pytest.mark.parametrize("probability", [0.1, 0.15, 0.25, 0.5, 1.0])
def test_slots_that_no_text_of_the_length_can_use_are_left_out_and_no_mask_with_them(
    tokenizer: CaptionTokenizer, probability: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    masker = Masker(tokenizer, MaskingConfig(probability=probability))
    for texts in (["a man in red", "a hat"], CAPTIONS * 8):
        ids, mask = tokenizer(texts, None)
        few = masker.batch(ids, mask, torch.Generator().manual_seed(3))
        with monkeypatch.context() as patch:
            patch.setattr(masker, "slots", lambda length: length)
            every = masker.batch(ids, mask, torch.Generator().manual_seed(3))
        slots = masker.slots(ids.shape[1])
        assert few.positions.shape[1] == slots <= min(10, ids.shape[1])
        assert torch.equal(few.targets, every.targets[:, :slots])
        assert (every.targets[:, slots:] == IGNORED).all()
        assert torch.equal(few.ids, every.ids)


def test_the_same_generator_state_gives_the_same_masks(tokenizer: CaptionTokenizer) -> None:
    masker, (ids, mask) = Masker(tokenizer, MaskingConfig()), tokenizer(CAPTIONS, None)
    first, second = (masker.batch(ids, mask, torch.Generator().manual_seed(5)).ids for _ in range(2))
    assert torch.equal(first, second)


def test_pieces_of_one_word_are_hidden_together(tokenizer: CaptionTokenizer) -> None:
    masker = Masker(tokenizer, MaskingConfig(probability=0.01, skipgram_probability=0.0, max_masks=10))
    ids, _ = tokenizer(["zebra hat"], None)  # "zebra" is spelled in letters
    lengths = {len(mask_one(masker, ids[0].tolist(), random.Random(seed))[1]) for seed in range(30)}
    assert lengths == {1}  # more were collected than wanted, and one of them kept, as published


def test_as_published_padding_is_hidden_and_predicted(tokenizer: CaptionTokenizer) -> None:
    masker = Masker(tokenizer, MaskingConfig(mlm_candidates="padded"))
    ids, mask = tokenizer(CAPTIONS, 56, "max")
    masked = masker.batch(ids, mask, torch.Generator().manual_seed(0))
    assert (masked.targets != IGNORED).sum(1).tolist() == [10, 10]
    assert (masked.targets == tokenizer.pad_id).any()


@pytest.mark.parametrize("candidates", ["tokens", "padded"])
def test_masks_of_a_batch_are_distributed_like_those_drawn_one_by_one(tokenizer: CaptionTokenizer, candidates: str) -> None:
    """How often each place is hidden, and how often each number of places, over many draws of a text with long words and an unknown one."""
    masker = Masker(tokenizer, MaskingConfig(mlm_candidates=candidates, skipgram_probability=0.5))
    ids, mask = tokenizer(
        ["a zebra zoo man in \u4e00 red shirt", "a man in a black shirt with a backpack and a very long story"], 56, "longest"
    )
    rows, draws = ids[:1].expand(4000, -1), 2000
    length = int(mask[0].sum()) if candidates == "tokens" else ids.shape[1]
    batch = masker.batch(rows, mask[:1].expand(4000, -1), torch.Generator().manual_seed(0))
    used = batch.targets != IGNORED
    hidden = torch.zeros(ids.shape[1]).index_add(0, batch.positions[used], torch.ones(int(used.sum()))) / len(rows)
    singly = [mask_one(masker, ids[0, :length].tolist(), random.Random(seed))[1] for seed in range(draws)]
    expected = torch.tensor([sum(place in places for places in singly) / draws for place in range(ids.shape[1])])
    assert (hidden - expected).abs().max() < 0.05  # four standard deviations of the difference are 0.055 at worst
    numbers = [sum(len(places) == count for places in singly) / draws for count in range(11)]
    assert torch.allclose(torch.bincount(used.sum(1), minlength=11) / len(rows), torch.tensor(numbers), atol=0.05)
    share = (batch.ids != rows).sum() / used.sum()
    assert 0.86 < share < 0.93  # 80 % [MASK], 10 % another piece
    assert (batch.ids.gather(1, batch.positions)[used] == tokenizer.mask_id).float().mean() == pytest.approx(0.8, abs=0.02)
