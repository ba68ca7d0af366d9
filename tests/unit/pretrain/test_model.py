"""The model's geometry and its state-dict layout, beyond what golden numbers fix."""

import pytest
import torch

from pipeline.contracts.errors import ConfigError, ContractError
from pretrain.models.aptm import APTM
from pretrain.models.layout import load_published, published_state
from pretrain.models.settings import AptmConfig, TextConfig, VisionConfig
from pretrain.models.vision import from_windows, shift_mask, to_windows


def _tiny(**vision: object) -> AptmConfig:
    shape: dict = {"height": 64, "width": 32, "embed_dim": 8, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 2), "window_size": 4}
    text = TextConfig(vocab_size=40, hidden_size=16, intermediate_size=32, num_heads=2, num_layers=2, fusion_layer=1, max_positions=16)
    return AptmConfig(vision=VisionConfig(**{**shape, **vision}), text=text, embed_dim=8)


def test_narrow_grids_take_one_window_across_and_no_shift() -> None:
    assert [VisionConfig().window(stage) for stage in range(4)] == [(8, 4), (8, 4), (8, 0), (4, 0)]


def test_a_window_that_does_not_tile_is_refused() -> None:
    with pytest.raises(ConfigError, match="windows of 3 do not tile the 16x8 grid of stage 0"):
        _tiny(window_size=3)
    with pytest.raises(ConfigError, match="multiples of 32"):
        _tiny(height=100)


def test_windows_are_undone() -> None:
    maps = torch.arange(2 * 8 * 4 * 3).view(2, 8, 4, 3)
    assert torch.equal(from_windows(to_windows(maps, 4), (8, 4), 4), maps)


def test_the_shift_mask_parts_only_what_the_roll_joined() -> None:
    mask = shift_mask((8, 4), 4, 2)
    assert mask.shape == (2, 16, 16)
    assert set(mask.unique().tolist()) == {-100.0, 0.0}
    upper, lower = mask
    rows = torch.arange(16) // 4
    columns = torch.arange(16) % 4
    same_side = (columns[:, None] < 2) == (columns[None] < 2)
    assert torch.equal(upper == 0, same_side)
    assert torch.equal(lower == 0, same_side & ((rows[:, None] < 2) == (rows[None] < 2)))


def test_padding_changes_no_feature() -> None:
    torch.manual_seed(0)
    model = APTM(_tiny()).eval()
    ids, image = torch.randint(5, 40, (2, 6)), torch.randn(2, 3, 64, 32)
    longer = torch.cat([ids, torch.zeros(2, 4, dtype=torch.long)], 1)
    masks = torch.ones_like(ids), (longer > 0).long()
    image_embeds, _ = model.encode_image(image)
    short, long = (model.encode_text(i, m) for i, m in zip((ids, longer), masks, strict=True))
    assert torch.allclose(short[1], long[1], atol=1e-6)
    logits = [model.match_logits(model.cross(embeds, mask, image_embeds)) for embeds, mask in ((short[0], masks[0]), (long[0], masks[1]))]
    assert torch.allclose(logits[0], logits[1], atol=1e-6)


def test_computing_chosen_positions_alone_gives_their_states() -> None:
    torch.manual_seed(0)
    model = APTM(_tiny()).eval()
    ids, image = torch.randint(5, 40, (3, 6)), torch.randn(3, 3, 64, 32)
    mask, positions = torch.ones_like(ids), torch.tensor([[0, 5], [2, 2], [4, 1]])
    text_embeds, image_embeds = model.encode_text(ids, mask)[0], model.encode_image(image)[0]
    whole = model.cross(text_embeds, mask, image_embeds)
    chosen = model.text_encoder.bert.fuse(text_embeds, mask, image_embeds, positions)
    assert torch.allclose(chosen, torch.stack([whole[row, places] for row, places in enumerate(positions)]), atol=1e-6)
    assert torch.allclose(model.match(text_embeds, mask, image_embeds), model.match_logits(whole), atol=1e-6)


def test_a_saved_state_holds_tied_tensors_twice_and_the_temperature_without_dimensions() -> None:
    model = APTM(_tiny())
    state = published_state(model)
    assert state["temp"].shape == ()
    words = "text_encoder.bert.embeddings.word_embeddings.weight"
    decoder = "text_encoder.cls.predictions.decoder.weight"
    assert torch.equal(state[words], state[decoder])
    assert state[words].data_ptr() != state[decoder].data_ptr()
    other = APTM(_tiny())
    assert load_published(other, state, "state").clean
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_loading_reports_every_key_and_refuses_another_shape() -> None:
    model = APTM(_tiny())
    state = published_state(model)
    del state["itm_head.0.bias"]
    report = load_published(model, {**state, "img_cls.1.weight": torch.zeros(2)}, "file")
    assert report.missing == ("itm_head.0.bias",)
    assert report.unexpected == ("img_cls.1.weight",)
    assert "1 missing (itm_head.0.bias), 1 unexpected (img_cls.1.weight)" in report.summary()
    with pytest.raises(ContractError, match=r"file: vision_proj\.weight has shape \[8, 32\]"):
        load_published(model, {"vision_proj.weight": torch.zeros(8, 32)}, "file")


def test_drop_path_drops_whole_samples_while_training_only() -> None:
    torch.manual_seed(0)
    model = APTM(_tiny(drop_path=0.5))
    image = torch.randn(1, 3, 64, 32).repeat(4, 1, 1, 1)
    with torch.no_grad():
        trained = model.train().encode_image(image)[1]
        evaluated = model.eval().encode_image(image)[1]
    assert not torch.allclose(trained[0], trained[1])
    assert torch.allclose(evaluated[0], evaluated[1])


def test_a_vocabulary_of_another_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size=40, but the vocabulary has 50 pieces"):
        _tiny().with_vocab(50)
