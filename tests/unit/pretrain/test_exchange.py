"""Weights of others in, as a checkpoint that evaluation and training open; every key is accounted for."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.config import to_yaml
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import write_json
from pipeline.signals import StopRequest
from pretrain import checkpoint
from pretrain.cli import main
from pretrain.exchange import import_weights
from pretrain.models.layout import published_state
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
from pretrain.train import build_model, train
from tests.unit.pretrain.samples import tiny_config


def _published(tmp_path: Path, **more: torch.Tensor) -> tuple[Path, Path, dict[str, torch.Tensor]]:
    """A recipe, and a .pth as the research code saves it, of other random weights than the recipe's own."""
    state = published_state(build_model(tiny_config(tmp_path, tmp_path, seed=7), CaptionTokenizer(EMBEDDED_VOCAB)))
    torch.save({"model": {**state, **more}, "epoch": 3}, tmp_path / "published.pth")
    (tmp_path / "recipe.yaml").write_text(to_yaml(tiny_config(tmp_path, tmp_path)))
    return tmp_path / "recipe.yaml", tmp_path / "published.pth", state


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_a_published_file_becomes_a_checkpoint_of_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, file, state = _published(tmp_path)
    assert _run("import-checkpoint", "--aptm", file, "--config", recipe, "--out", tmp_path / "in", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["clean"]
    assert (answer["checkpoint"]["missing"], len(answer["checkpoint"]["loaded"])) == ([], len(state))
    assert checkpoint.load_model(tmp_path / "in").metadata["imported"] == {"checkpoint": "published.pth"}
    written = load_file(tmp_path / "in" / checkpoint.MODEL_FILE)
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], state[name]) for name in state)


def test_a_key_too_many_is_named_and_the_exit_code_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, file, _ = _published(tmp_path, odd_head=torch.zeros(2))
    assert _run("import-checkpoint", "--aptm", file, "--config", recipe, "--out", tmp_path / "in") == 1
    assert "1 unexpected (odd_head)" in capsys.readouterr().out


def test_a_key_too_few_and_another_shape_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    _, _, state = _published(tmp_path)
    config = tiny_config(tmp_path, tmp_path)
    save_file({name: value for name, value in state.items() if name != "temp"}, tmp_path / "few.safetensors")
    with pytest.raises(ContractError, match=r"1 missing \(temp\)"):
        import_weights(config, tmp_path / "few.safetensors", None, None, tmp_path / "in")
    save_file({**state, "vision_proj.weight": torch.zeros(3, 3)}, tmp_path / "shape.safetensors")
    with pytest.raises(ContractError, match=r"vision_proj\.weight has shape \[3, 3\]"):
        import_weights(config, tmp_path / "shape.safetensors", None, None, tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_encoders_alone_fill_their_part_and_report_what_they_lack(tmp_path: Path) -> None:
    _, _, state = _published(tmp_path)
    prefix = "vision_encoder."
    torch.save(
        {"model": {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}}, tmp_path / "swin.pth"
    )
    reports = import_weights(tiny_config(tmp_path, tmp_path), None, tmp_path / "swin.pth", None, tmp_path / "in")
    assert (reports["swin"].missing, reports["swin"].unexpected) == ((), ())
    written = load_file(tmp_path / "in" / checkpoint.MODEL_FILE)
    name = "vision_encoder.patch_embed.proj.weight"
    assert torch.equal(written[name], state[name])


def test_nothing_to_import_and_a_folder_in_use_are_refused(tmp_path: Path) -> None:
    _, file, _ = _published(tmp_path)
    config = tiny_config(tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="nothing to import"):
        import_weights(config, None, None, None, tmp_path / "in")
    import_weights(config, file, None, None, tmp_path / "in")
    with pytest.raises(ConfigError, match="holds a checkpoint already"):
        import_weights(config, file, None, None, tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.jsonl").touch()
    for folder in (tmp_path / "out", tmp_path / "out" / "checkpoint"):
        with pytest.raises(ConfigError, match="is where a training keeps its own checkpoints"):
            import_weights(config, file, None, None, folder)
    import_weights(config, file, None, None, other := tmp_path / "no training" / "checkpoint")
    assert checkpoint.resolve(other) == other
    with pytest.raises(ConfigError, match=rf"{other}/model\.safetensors is a file, and a checkpoint is a folder; give {other}$"):
        checkpoint.resolve(other / checkpoint.MODEL_FILE)
    assert checkpoint.resolve(other.parent) == other


def test_of_a_file_the_folder_that_is_meant_is_named(tmp_path: Path) -> None:
    root = tmp_path / "out" / "checkpoint"
    step = root / "step-00000004"
    write_json(step / checkpoint.METADATA_FILE, {})
    for file in (root / "latest", root / "best", step / checkpoint.TRAINING_STATE / "ema.safetensors", tmp_path / "out" / "config.yaml"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("step-00000004")
        with pytest.raises(ConfigError, match=f"{file} is a file, and a checkpoint is a folder; give {tmp_path}/out") as info:
            checkpoint.resolve(file)
        assert checkpoint.resolve(Path(str(info.value).rpartition("give ")[2])) == step
    with pytest.raises(ConfigError, match=f"give {step}$"):  # OUT/checkpoint of a fine-tuning would mean its best
        checkpoint.resolve(root / "latest")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="give one that a training wrote"):
        checkpoint.resolve(tmp_path / "notes.txt")


@pytest.mark.parametrize("name", ["published.pth", "weights/aptm.pth", "checkpoint/aptm.pth", "weights/model.safetensors"])
def test_published_weights_near_a_training_are_not_taken_for_its_own(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / "out" / "checkpoint" / "step-00000004" / checkpoint.METADATA_FILE, {})
    (file := tmp_path / "out" / name).parent.mkdir(exist_ok=True)
    file.touch()
    with pytest.raises(ConfigError, match=rf"make one with `passerby import-checkpoint --aptm {file} "):
        checkpoint.resolve(file)


@pytest.mark.parametrize("name", ["zero/ranks/x.pt", "optimizer.safetensors", "x.bin"])
def test_a_part_of_a_training_state_is_not_taken_for_published_weights(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing else is said: no checkpoint is used."""
    write_json((step := tmp_path / "checkpoint" / "step-00000004") / checkpoint.METADATA_FILE, {})
    (file := step / checkpoint.TRAINING_STATE / name).parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(ConfigError, match=f"a checkpoint is a folder; give {step}$"):
        checkpoint.resolve(file)
    with pytest.raises(ConfigError, match=f"give {tmp_path}$"):
        checkpoint.resolve(shutil.copy(file, tmp_path / "metrics.jsonl"))
    assert not caplog.text


@pytest.mark.parametrize("place", [".", "checkpoint"])
def test_a_training_refuses_a_folder_that_holds_an_imported_checkpoint(shards: Path, tmp_path: Path, place: str) -> None:
    """It would be taken for the trained one."""
    _, file, _ = _published(tmp_path)
    import_weights(tiny_config(tmp_path, tmp_path), file, None, None, tmp_path / "in")
    shutil.copytree(tmp_path / "in", tmp_path / "out" / place)
    with pytest.raises(ConfigError, match=r"out(/checkpoint)? holds a checkpoint from elsewhere \(metadata\.json\).* give another `out`"):
        train(tiny_config(shards, tmp_path / "out"), StopRequest())
