"""Swin and BERT weights enter under our names."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.contracts.errors import ConfigError, ContractError
from pretrain.config import InitConfig
from pretrain.initialize import initialise
from pretrain.models.aptm import APTM
from pretrain.models.settings import AptmConfig, TextConfig, VisionConfig


@pytest.fixture
def model() -> APTM:
    vision = VisionConfig(height=64, width=32, embed_dim=8, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 2), window_size=4)
    text = TextConfig(vocab_size=40, hidden_size=16, intermediate_size=32, num_heads=2, num_layers=2, fusion_layer=1, max_positions=16)
    return APTM(AptmConfig(vision=vision, text=text, embed_dim=8))


def test_swin_weights_of_another_window_are_resized_and_the_rest_reported(model: APTM, tmp_path: Path) -> None:
    own = model.vision_encoder.state_dict()
    state = {name: torch.randn_like(t) if t.is_floating_point() else t for name, t in own.items() if "relative_position_bias" not in name}
    for name in own:
        if name.endswith("relative_position_bias_table"):
            state[name] = torch.full((25, own[name].shape[1]), 0.5)  # window 3
    state["head.weight"] = torch.zeros(10, 64)
    torch.save({"model": state}, tmp_path / "swin.pth")
    report = initialise(model, InitConfig(swin=str(tmp_path / "swin.pth")))["swin"]
    assert report.missing == ()
    assert report.unexpected == ("vision_encoder.head.weight",)
    assert torch.equal(model.vision_encoder.norm.weight, state["norm.weight"])
    table = model.vision_encoder.layers[0].blocks[0].attn.relative_position_bias_table
    assert torch.allclose(table, torch.full_like(table, 0.5), atol=1e-5)


def test_bert_weights_leave_only_cross_attention_at_random(model: APTM, tmp_path: Path) -> None:
    own = model.text_encoder.state_dict()
    state = {name: torch.ones_like(t) for name, t in own.items() if ".crossattention." not in name and t.is_floating_point()}
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t for name, t in state.items()}
    save_file(old, tmp_path / "bert.safetensors")
    report = initialise(model, InitConfig(bert=str(tmp_path / "bert.safetensors")))["bert"]
    assert report.unexpected == ()
    assert report.missing
    assert all(".crossattention." in name for name in report.missing)


def test_a_file_that_fits_nowhere_or_is_no_weight_file_is_refused(model: APTM, tmp_path: Path) -> None:
    save_file({"something.else": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ContractError, match="no tensor has a name of text_encoder"):
        initialise(model, InitConfig(bert=str(tmp_path / "other.safetensors")))
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ContractError, match="no readable weight file"):
        initialise(model, InitConfig(swin=str(tmp_path / "text.pth")))
    with pytest.raises(ConfigError, match="does not exist"):
        initialise(model, InitConfig(swin=str(tmp_path / "absent.pth")))
