"""CLIP and IRRA against transformers, all published forms of weights, tokens against transformers' tokenizer."""

import json
import pickle
import warnings
import zipfile
from random import Random

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from finetune.models.clip import Clip, image_feature, text_feature
from finetune.models.clip_settings import ClipConfig, TowerConfig
from finetune.models.clip_tokenizer import load_tokenizer
from finetune.models.clip_weights import fit, grid_of, read_clip, read_state, resize_positions, sized
from finetune.models.irra import Irra, IrraConfig
from finetune.models.torchscript import read_torchscript
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pretrain.models.layout import load_published

TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 99}
VISION = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 16, "patch_size": 8}


@pytest.fixture(scope="module", params=["quick_gelu", "gelu"])
def theirs(request, tmp_path_factory):
    act = {"hidden_act": request.param}
    text = {**TEXT, **act, "max_position_embeddings": 12, "eos_token_id": 98, "bos_token_id": 97, "pad_token_id": 0}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config={**VISION, **act}, projection_dim=24)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("hf")
    model.save_pretrained(folder)
    return model, folder


def loaded(source) -> tuple[Clip, ClipConfig]:
    state, config = read_clip(source)
    model = Clip(config).eval()
    assert load_published(model, fit(state, config), "test").clean
    return model, config


@torch.no_grad()
def test_a_hugging_face_folder_gives_the_features_of_transformers(theirs):
    model, folder = theirs
    mine, config = loaded(folder)
    assert (config.image.heads, config.text.hidden, config.embed_dim) == (3, 48, 24)
    pixels, ids = torch.randn(2, 3, 16, 16), torch.tensor([[97, 5, 7, 98, 0, 0], [97, 9, 98, 0, 0, 0]])
    output = model(input_ids=ids, pixel_values=pixels)
    ours = torch.nn.functional.normalize(image_feature(mine.image_tokens(pixels)), dim=1)
    torch.testing.assert_close(ours, output.image_embeds, atol=1e-5, rtol=1e-4)
    ours = torch.nn.functional.normalize(text_feature(mine.text_tokens(ids), ids), dim=1)
    torch.testing.assert_close(ours, output.text_embeds, atol=1e-5, rtol=1e-4)


def native(prefix: str = "") -> tuple[Clip, dict[str, torch.Tensor]]:
    tower = TowerConfig(width=64, layers=2, heads=1, hidden=256)
    torch.manual_seed(1)
    model = Clip(ClipConfig(height=16, width=16, patch=8, image=tower, text=tower, embed_dim=32, vocab_size=600, context=10))
    state = {prefix + name: value.clone() for name, value in model.state_dict().items()}
    return model, state | {"logit_scale": torch.tensor(4.6)}


@pytest.mark.parametrize("form", ["openai.pt", "open_clip", "irra.pth"])
def test_files_under_native_names_give_the_same_model(tmp_path, form):
    model, state = native("base_model." if form == "irra.pth" else "")
    if form == "open_clip":
        save_file(state, tmp_path / "open_clip_model.safetensors")
        facts = {"quick_gelu": True, "vision_cfg": {"head_width": 64}, "text_cfg": {"heads": 1}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": facts}))
        mine, config = loaded(tmp_path)
    else:
        torch.save({"model": state} if form == "irra.pth" else state, tmp_path / form)
        mine, config = loaded(tmp_path / form)
    assert config == model.config
    assert all(torch.equal(a, b) for a, b in zip(mine.state_dict().values(), model.state_dict().values(), strict=True))


class Published(Clip):
    """With what OpenAI's archives hold beside the towers, and a forward pass to trace."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__(config)
        self.logit_scale = torch.nn.Parameter(torch.tensor(4.6))
        for name, value in (("input_resolution", 16), ("context_length", 10), ("vocab_size", 600)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, image, ids):
        return self.image_tokens(image), self.text_tokens(ids)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A TorchScript archive in half precision, as OpenAI publishes them, and the model that it came from."""
    model = Published(native()[0].config).eval()
    path = tmp_path_factory.mktemp("openai") / "ViT-tiny.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.jit.trace(model, (torch.zeros(1, 3, 16, 16), torch.ones(1, 10, dtype=torch.int64))).half().save(str(path))
    return path, model


def test_an_openai_archive_gives_the_model_that_torch_jit_load_would_give(archive):
    path, model = archive
    expected, found = torch.jit.load(path).state_dict(), read_torchscript(path)
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype for name in expected)
    mine, config = loaded(path)
    assert config == model.config
    assert read_clip(path)[0]["logit_scale"] == pytest.approx(4.6, abs=2e-3)
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name].half().float(), atol=0, rtol=0)


def rewritten(source, target, change):
    """The archive with `change(name, data)` for the bytes of each member."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_no_code_of_an_archive_is_compiled_and_nothing_but_tensors_is_unpickled(archive, tmp_path):
    path, model = archive
    broken = rewritten(path, tmp_path / "code.pt", lambda name, data: b"this is no code" if name.endswith(".py") else data)
    with pytest.raises(RuntimeError):
        torch.jit.load(broken)
    assert loaded(broken)[1] == model.config
    evil = pickle.dumps(Evil())
    with pytest.raises(ContractError, match=r"holds more than modules and tensors \(builtins\.exec\)"):
        read_clip(rewritten(path, tmp_path / "evil.pt", lambda name, data: evil if name.endswith("/data.pkl") else data))
    with pytest.raises(ContractError, match="holds more than modules and tensors"):
        read_clip(rewritten(path, tmp_path / "short.pt", lambda name, data: data[:-2] if name.endswith("/data/0") else data))
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1)), tmp_path / "linear.pt")
    with pytest.raises(ContractError, match="holds no CLIP"):
        read_clip(tmp_path / "linear.pt")


def test_open_clip_without_quick_gelu_says_so(tmp_path):
    _, state = native()
    save_file(state, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"vision_cfg": {"head_width": 32}, "text_cfg": {"heads": 4}}}))
    config = read_clip(tmp_path)[1]
    assert (config.activation, config.image.heads, config.text.heads) == ("gelu", 2, 4)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_a_pickle_with_code_is_not_run_and_other_files_are_refused(tmp_path):
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ContractError, match="holds more than tensors"):
        read_clip(tmp_path / "evil.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ContractError):
        read_clip(tmp_path / "text.pt")
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ContractError, match="holds no CLIP"):
        read_clip(tmp_path)
    with pytest.raises(ConfigError, match="is no weight file and holds none"):
        read_clip(tmp_path / "absent")


def test_weights_that_cannot_be_opened_are_not_said_to_be_missing_or_damaged(tmp_path):
    path = tmp_path / "model.safetensors"
    path.symlink_to(path)
    with pytest.raises(StageError, match=rf"^{path} cannot be read: Too many levels of symbolic links$"):
        read_state(path)


def test_positions_keep_the_class_row_and_grow_to_the_new_grid():
    table = torch.arange(5.0)[:, None].repeat(1, 3)
    grown = resize_positions(table, (4, 2))
    assert grown.shape == (9, 3)
    assert torch.equal(grown[0], table[0])
    assert torch.equal(resize_positions(table, (2, 2)), table)
    with pytest.raises(ContractError, match="no class row"):
        resize_positions(table, (4, 2), source=(3, 3))
    with pytest.raises(ContractError, match="8 rows is no class row and a grid; accepted: a square"):
        resize_positions(torch.zeros(8, 3), (4, 2))


@pytest.mark.parametrize(("rows", "grid"), [(193, (24, 8)), (129, (16, 8)), (197, (14, 14)), (2, (1, 1))])
def test_the_grid_of_a_position_table_is_square_or_that_of_a_person(rows, grid):
    assert grid_of(torch.zeros(rows, 1)) == grid


def test_a_picture_of_another_size_needs_fitted_positions():
    model, state = native()
    config = sized(model.config, 32, 16)
    assert load_published(Clip(config), fit(state, config), "test").clean


def test_the_token_ids_are_those_of_transformers_but_for_the_mask(tmp_path):
    from transformers import CLIPTokenizerFast

    tokenizer = load_tokenizer(None, 49408, with_mask=False)
    tokenizer.save(tmp_path)
    pieces = [*tokenizer._tokenizer.get_vocab().items()]
    (tmp_path / "vocab.json").write_text(json.dumps(dict(pieces)))
    theirs = CLIPTokenizerFast.from_pretrained(str(tmp_path))
    texts = ["A walking man, aged 18-60.", "This is a grey MORRIS-GARAGE SUV.", "it's  a   t-shirt!! 12 éclair", "&amp; <b>"]
    for text in texts[:3]:
        ids = tokenizer([text])[0]
        assert ids[: int((ids != 0).sum())].tolist() == theirs(text)["input_ids"]
    with_mask = load_tokenizer(tmp_path, 49408)
    assert (with_mask.mask_id, with_mask.start_id, with_mask.end_id) == (49405, 49406, 49407)
    assert torch.equal(with_mask(texts), load_tokenizer(None, 49408)(texts))


def test_a_long_text_is_cut_and_keeps_its_end():
    tokenizer = load_tokenizer(None, 700)
    ids = tokenizer(["word " * 50], context=9)[0]
    assert ids[0] == tokenizer.start_id
    assert ids[8] == tokenizer.end_id


def test_masks_hide_ordinary_tokens_only_and_at_least_one():
    tokenizer = load_tokenizer(None, 700)
    ids = tokenizer(["a man in a coat"])[0].tolist()
    for seed in range(30):
        new, targets = tokenizer.masked(ids, Random(seed))
        assert any(targets)
        for before, after, target in zip(ids, new, targets, strict=True):
            assert target in (0, before)
            assert after == before or target == before
            assert target == 0 or 0 < before < tokenizer.mask_id
    assert sum(target != 0 for target in tokenizer.masked(ids, Random(0), 1.0)[1]) == sum(0 < i < tokenizer.mask_id for i in ids)


def test_irra_has_the_heads_that_its_config_asks_for():
    tower = TowerConfig(width=64, layers=1, heads=1, hidden=64)
    clip = ClipConfig(height=16, width=16, patch=8, image=tower, text=tower, embed_dim=64, vocab_size=600, context=10)
    names = {name.split(".")[0] for name in Irra(IrraConfig(clip=clip, num_classes=3, num_attributes=21)).state_dict()}
    assert {"classifier", "attribute_classifier"} <= names
    assert not {"classifier", "attribute_classifier"} & {n.split(".")[0] for n in Irra(IrraConfig(clip=clip)).state_dict()}
    with pytest.raises(ConfigError, match="multiples of 64"):
        IrraConfig(clip=ClipConfig(embed_dim=100))
