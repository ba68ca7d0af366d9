"""The model's geometry and its state-dict layout, beyond what golden numbers fix."""

from dataclasses import replace

import pytest
import torch

from pipeline.contracts.errors import ConfigError, ContractError
from pretrain.models.aptm import APTM
from pretrain.models.layout import load_published, published_state
from pretrain.models.settings import AptmConfig, TextConfig, VisionConfig
from pretrain.models.text import Reading
from pretrain.models.vision import SwinEncoder, attention_with_bias, shift_mask, to_windows, window_order


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


def test_tokens_lie_window_by_window_and_a_shift_wraps_around() -> None:
    assert window_order((4, 4), 2, 0).tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    assert window_order((4, 4), 2, 1).tolist() == [5, 6, 9, 10, 7, 4, 11, 8, 13, 14, 1, 2, 15, 12, 3, 0]


def test_a_stage_equals_rolling_cutting_and_joining_in_each_block() -> None:
    torch.manual_seed(0)
    encoder = SwinEncoder(_tiny(height=128, width=64, depths=(3, 2, 1, 1), drop_path=0.0).vision).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    stage, x = encoder.layers[0], torch.randn(2, 512, 8, dtype=torch.float64, requires_grad=True)
    y = x
    for number, block in enumerate(stage.blocks):
        shift = 2 if number % 2 else 0
        windows = to_windows(block.norm1(y).view(2, 32, 16, 8).roll((-shift, -shift), (1, 2)), 4)
        seen = block.attn(windows.view(2, 512, 8), block.attn_mask).view(2, 8, 4, 4, 4, 8)
        y = y + seen.transpose(2, 3).reshape(2, 32, 16, 8).roll((shift, shift), (1, 2)).view(2, 512, 8)
        y = y + block.mlp(block.norm2(y))
    maps = y.view(2, 32, 16, 8)
    corners = [maps[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    y = stage.downsample.reduction(stage.downsample.norm(torch.cat(corners, -1).flatten(1, 2)))
    found = stage(x)
    assert torch.allclose(found, y, atol=1e-10)
    direction = torch.randn_like(y)
    gradients = [torch.autograd.grad((result * direction).sum(), [x, *stage.parameters()]) for result in (found, y)]
    assert all(torch.allclose(a, b, atol=1e-8) for a, b in zip(*gradients, strict=True))


def test_the_fused_window_attention_equals_the_plain_one() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 4, 8, generator=generator) for _ in range(3))
    bias = torch.randn(3, 4, 4, generator=generator)
    plain, fused = (attention_with_bias(query, key, value, bias, fused) for fused in (False, True))
    assert torch.allclose(plain, fused, atol=1e-6)


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


@pytest.mark.parametrize("num_layers", [2, 3, 4])
def test_pairs_read_in_one_pass_have_the_states_of_the_plain_cross_encoder(num_layers: int) -> None:
    """Two readings of different width; texts and images that occur in several pairs, in one only and in none; padded texts."""
    torch.manual_seed(0)
    config = _tiny()
    model = APTM(replace(config, text=replace(config.text, num_layers=num_layers))).eval()
    ids, image = torch.randint(5, 40, (3, 6)), torch.randn(3, 3, 64, 32)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]])
    text_embeds, image_embeds = model.encode_text(ids, mask)[0], model.encode_image(image)[0]
    readings = [
        Reading(torch.tensor([0, 2, 2]), torch.tensor([1, 1, 0]), torch.tensor([[0, 5], [2, 2], [3, 1]])),
        Reading(torch.tensor([1, 0]), torch.tensor([0, 1]), torch.tensor([[0], [4]])),
    ]
    found = model.read(text_embeds, mask, model.image_memory(image_embeds), readings)
    for reading, states in zip(readings, found, strict=True):
        whole = model.cross(text_embeds[reading.text_index], mask[reading.text_index], image_embeds[reading.image_index])
        assert torch.allclose(states, torch.stack([whole[row, places] for row, places in enumerate(reading.positions)]), atol=1e-6)
    assert torch.allclose(
        model.match(text_embeds, mask, image_embeds), model.match_logits(model.cross(text_embeds, mask, image_embeds)), atol=1e-6
    )


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
