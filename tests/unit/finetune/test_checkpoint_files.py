"""The files of a checkpoint folder beside its weights: damaged, absent, or not those that a training began with."""

from pathlib import Path

import pytest
import torch

from finetune.best import find_checkpoint
from finetune.config import FinetuneConfig
from finetune.methods.start import open_searcher, start_method
from finetune.models.clip_tokenizer import MERGES_FILE, ClipTokenizer, load_tokenizer
from finetune.recipes import Recipe
from finetune.train import train
from pipeline.config import build
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.signals import Stopped, StopRequest
from pretrain.tokenizer import EMBEDDED_VOCAB
from tests.unit.finetune.test_methods import lines_of
from tests.unit.finetune.test_methods import recipe as recipe_of_towers
from tests.unit.finetune.test_training import StopAfter
from tests.unit.finetune.tiny_models import BLIP, CLIP

CPU = torch.device("cpu")


def recipe(method: str, tree: dict, miniature: Path, out: Path, vocab: Path | str = "embedded") -> Recipe:
    if method == "aptm":
        return build(FinetuneConfig, tree | {"out": str(out), "text": {"vocab": str(vocab)}}, "test")
    changes = {"objective": {"vocab": str(vocab)}, "model": {"config": BLIP, "queue_size": 20}} if method == "blip" else {}
    return recipe_of_towers(method, miniature, out, **changes)


@pytest.mark.parametrize("method", ["aptm", "irra", "blip"])
def test_each_damaged_file_of_a_checkpoint_is_named_with_the_way_out(method, tiny_tree, miniature, tmp_path):
    config, folder = recipe(method, tiny_tree, miniature, tmp_path / "out"), tmp_path / "given"
    start_method(config, lines_of(config), CPU).save(folder, {})
    assert open_searcher(folder, CPU)
    words = "merges.txt" if method == "irra" else "vocab.txt"
    for name in ("config.json", "metadata.json", words):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(bytes(9))
        with pytest.raises(ContractError, match=rf"^{folder / name}.*; delete the folder {folder} and use another one"):
            open_searcher(folder, CPU)
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize("method", ["aptm", "blip"])
def test_a_training_does_not_go_on_with_another_vocabulary_than_it_began_with(method, tiny_tree, miniature, tmp_path):
    """The same ids would mean other words."""
    vocab = tmp_path / "own.txt"
    pieces = EMBEDDED_VOCAB.read_text(encoding="utf-8").splitlines()
    vocab.write_text("\n".join(pieces), encoding="utf-8")
    config = recipe(method, tiny_tree, miniature, tmp_path / "out", vocab)
    with pytest.raises(Stopped):
        train(config, StopAfter(1))
    vocab.write_text("\n".join([*pieces[:-2], pieces[-1], pieces[-2]]), encoding="utf-8")
    with pytest.raises(ContractError, match=rf"{vocab} has other pieces than .*step-00000002/vocab\.txt, .*; put back what was changed"):
        train(config, StopRequest())
    vocab.write_text("\n".join(pieces), encoding="utf-8")
    assert train(config, StopRequest())["steps"] == 4
    assert find_checkpoint(tmp_path / "out")


@pytest.mark.parametrize("method", ["irra", "clip"])
def test_merges_that_are_lost_from_a_folder_of_ours_are_not_taken_from_the_published_ones(method, miniature, tmp_path):
    config = recipe_of_towers(method, miniature, tmp_path / "out")
    with pytest.raises(Stopped):
        train(config, StopAfter(1))
    folder = tmp_path / "out" / "checkpoint" / "step-00000002"
    (folder / MERGES_FILE).unlink()
    lost = rf"^{folder / MERGES_FILE} does not exist; delete the folder {folder}; its training goes on from step-00000001"
    with pytest.raises(ContractError, match=lost):
        train(config, StopRequest())
    with pytest.raises(ContractError, match=lost):
        open_searcher(folder, CPU)
    start = recipe_of_towers(method, miniature, tmp_path / "other", init={"checkpoint": str(folder)})
    with pytest.raises(ContractError, match=lost):
        start_method(start, lines_of(start), CPU)


def test_a_checkpoint_of_irra_is_a_start_for_clip_whose_vocabulary_has_a_merge_more(miniature, tmp_path):
    config = recipe_of_towers("irra", miniature, tmp_path / "irra")
    start_method(config, lines_of(config), CPU).save(tmp_path / "irra", {})
    changes = {"init": {"weights": str(tmp_path / "irra")}, "model": {"height": 32, "width": 16}}
    config = recipe_of_towers("clip", miniature, tmp_path / "clip", **changes)
    found = start_method(config, lines_of(config), CPU).tokenizer
    assert found.merges == load_tokenizer(None, CLIP["vocab_size"], with_mask=False).merges
    own = [tuple(line.split()) for line in (tmp_path / "irra" / MERGES_FILE).read_text().splitlines()[:0:-1]]
    ClipTokenizer(own).save(tmp_path / "irra")
    with pytest.raises(
        ConfigError, match=rf"needs 486 merges, .* has 485; put the whole merges\.txt of these weights into {tmp_path / 'irra'}"
    ):
        start_method(config, lines_of(config), CPU)
