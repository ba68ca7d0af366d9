"""Swin and BERT weights enter under our names."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pretrain.config import InitConfig
from pretrain.initialize import initialise
from pretrain.models.aptm import APTM
from pretrain.models.layout import published_state
from pretrain.models.settings import AptmConfig, TextConfig, VisionConfig
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer

TOKENIZER = CaptionTokenizer(EMBEDDED_VOCAB)


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
    report = initialise(model, TOKENIZER, InitConfig(swin=str(tmp_path / "swin.pth")))["swin"]
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
    report = initialise(model, TOKENIZER, InitConfig(bert=str(tmp_path / "bert.safetensors")))["bert"]
    assert report.unexpected == ()
    assert report.missing
    assert all(".crossattention." in name for name in report.missing)


def test_a_file_that_fits_nowhere_or_is_no_weight_file_is_refused(model: APTM, tmp_path: Path) -> None:
    save_file({"something.else": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ContractError, match="no tensor has a name of text_encoder"):
        initialise(model, TOKENIZER, InitConfig(bert=str(tmp_path / "other.safetensors")))
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    with pytest.raises(StageError, match=r"init\.swin=.* cannot be read: Too many levels of symbolic links$"):
        initialise(model, TOKENIZER, InitConfig(swin=str(tmp_path / "loop.safetensors")))
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ContractError, match=r"no readable weight file \([^\n]*\)$"):
        initialise(model, TOKENIZER, InitConfig(swin=str(tmp_path / "text.pth")))
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ContractError, match="holds a list; accepted: a state dict"):
        initialise(model, TOKENIZER, InitConfig(swin=str(tmp_path / "list.pth")))
    with pytest.raises(ConfigError, match="does not exist"):
        initialise(model, TOKENIZER, InitConfig(swin=str(tmp_path / "absent.pth")))


def test_a_swin_folder_of_transformers_gives_its_own_tokens(tmp_path: Path) -> None:
    """Both shift, merge and number their windows alike: 64x64 pictures, where their rules for narrow grids agree."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shape = {"image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "window_size": 4}
    theirs = transformers.SwinModel(transformers.SwinConfig(**shape, layer_norm_eps=1e-5)).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path)
    vision = VisionConfig(height=64, width=64, embed_dim=8, depths=(2, 1), num_heads=(1, 2), window_size=4)
    text = TextConfig(vocab_size=40, hidden_size=16, intermediate_size=32, num_heads=2, num_layers=2, fusion_layer=1, max_positions=16)
    ours = APTM(AptmConfig(vision=vision, text=text, embed_dim=8)).eval()
    report = initialise(ours, TOKENIZER, InitConfig(swin=str(tmp_path)))["swin"]
    assert report.clean
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ours.vision_encoder(image)[:, 1:], theirs(image).last_hidden_state, atol=1e-5)


def test_a_bert_folder_of_transformers_gives_its_own_states(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shape = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "max_position_embeddings": 16}
    theirs = transformers.BertModel(transformers.BertConfig(**shape, num_hidden_layers=1), add_pooling_layer=False).eval()
    theirs.save_pretrained(tmp_path)
    vision = VisionConfig(height=64, width=32, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4)
    text = TextConfig(vocab_size=40, hidden_size=16, intermediate_size=32, num_heads=2, num_layers=2, fusion_layer=1, max_positions=16)
    ours = APTM(AptmConfig(vision=vision, text=text, embed_dim=8)).eval()
    report = initialise(ours, TOKENIZER, InitConfig(bert=str(tmp_path)))["bert"]
    assert report.unexpected == ()
    ids, mask = torch.randint(5, 40, (2, 6)), torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    with torch.no_grad():
        assert torch.allclose(ours.encode_text(ids, mask)[0], theirs(ids, mask).last_hidden_state, atol=1e-5)


def test_a_folder_without_weights_is_refused(model: APTM, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no model\.safetensors or pytorch_model\.bin"):
        initialise(model, TOKENIZER, InitConfig(bert=str(tmp_path)))


def test_a_published_file_is_loaded_whole_or_not_at_all(model: APTM, tmp_path: Path) -> None:
    """A pickle of {model, config}, with buffers and tied tensors; a scalar temperature; in one file names without `bert.`."""
    state = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in published_state(model).items()}
    torch.save({"model": state, "config": {"any": "thing"}}, tmp_path / "published.pth")
    report = initialise(model, TOKENIZER, InitConfig(checkpoint=str(tmp_path / "published.pth")))["checkpoint"]
    assert report.clean
    assert len(report.loaded) == len(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in published_state(model).items() if "attn_mask" not in name)
    short = {name.replace("text_encoder.bert.", "text_encoder."): tensor for name, tensor in state.items()}
    torch.save({"model": short}, tmp_path / "short.pth")
    assert initialise(model, TOKENIZER, InitConfig(checkpoint=str(tmp_path / "short.pth")))["checkpoint"].clean
    del state["itm_head.3.bias"]
    torch.save({"model": state}, tmp_path / "partial.pth")
    with pytest.raises(ContractError, match=r"1 missing \(itm_head\.3\.bias\); a checkpoint must hold the whole model"):
        initialise(model, TOKENIZER, InitConfig(checkpoint=str(tmp_path / "partial.pth")))
