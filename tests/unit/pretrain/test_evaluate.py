"""A checkpoint is scored on the inputs that it was trained on, whatever the recipe says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.contracts.errors import ConfigError
from pipeline.fileio import read_json, write_json
from pipeline.signals import StopRequest
from pretrain import checkpoint
from pretrain.config import PretrainConfig
from pretrain.evaluate import evaluate
from pretrain.models.settings import AptmConfig
from pretrain.train import train
from tests.unit.pretrain.samples import tiny_config


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> PretrainConfig:
    torch.set_num_threads(1)
    config = tiny_config(shards, tmp_path_factory.mktemp("trained"), train={"steps": 1})
    train(config, StopRequest())
    return config


def test_pictures_have_the_size_of_the_checkpoint_not_of_the_recipe(trained: PretrainConfig) -> None:
    folder = Path(trained.out) / "checkpoint"
    other = replace(trained, model=AptmConfig())
    assert evaluate(other, folder) == evaluate(trained, folder)
    model = checkpoint.load_model(folder).model
    with pytest.raises(ConfigError, match="pictures of 128x32 for a model of 64x32"):
        model.encode_image(torch.zeros(1, 3, 128, 32))


def test_a_recipe_with_other_inputs_is_refused_and_an_imported_checkpoint_says_nothing_of_them(trained: PretrainConfig) -> None:
    folder = Path(trained.out) / "checkpoint"
    other = replace(trained, text=replace(trained.text, clean=True), image=replace(trained.image, std=(0.5, 0.5, 0.5)))
    with pytest.raises(ConfigError, match=r"other inputs than this recipe makes \(text\.clean False -> True, image\.std \["):
        evaluate(other, folder)
    metadata = checkpoint.resolve(folder) / checkpoint.METADATA_FILE
    facts = read_json(metadata)
    write_json(metadata, {name: value for name, value in facts.items() if name != "inputs"})
    assert evaluate(other, folder)["data"]["queries"] == 4
    write_json(metadata, facts)
