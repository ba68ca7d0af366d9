"""Options that the data set cannot serve: refused at the start, by field."""

from pathlib import Path

import pytest
import torch

from finetune.methods.start import start_method
from finetune.train import train
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.signals import Stopped, StopRequest
from tests.unit.finetune.test_methods import lines_of, recipe
from tests.unit.finetune.test_training import StopAfter

CPU = torch.device("cpu")


def vehicles(root: Path) -> dict:
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.jpg").write_bytes(b"")
    (root / "captions.csv").write_text("image,caption,identity,split,kind\na.jpg,a car,car 7,train,vehicle\n")
    return {"data": {"name": "own", "folder": str(root), "kinds": ["vehicle"], "val_share": 0.0001}}


def test_a_bit_that_must_agree_is_one_of_the_attribute_space(miniature):
    config = recipe("irra", miniature, Path("unused"), objective={"irm": 1.0, "equal_bits": [0, 21]})
    with pytest.raises(ConfigError, match=r"objective\.equal_bits=\[0, 21\]: no attribute 21; accepted: 0 to 20"):
        start_method(config, lines_of(config), CPU)


def test_vehicles_without_tags_are_refused_where_tags_are_asked_for(miniature, tmp_path):
    data = vehicles(tmp_path / "own")
    patched = recipe("blip", miniature, tmp_path / "out", **data)
    with pytest.raises(ConfigError, match=r"objective\.colour_patch needs vehicles whose identity is a tag; a\.jpg: .*leave the field out"):
        start_method(patched, lines_of(patched), CPU)
    mined = recipe("clip", miniature, tmp_path / "out", mining={"share": 0.5}, train={"steps": 1, "global_batch": 1}, **data)
    with pytest.raises(ConfigError, match=r"mining\.share needs vehicles whose identity is a tag"):
        start_method(mined, lines_of(mined), CPU).batches(0, 1, 0, 1)


def test_a_file_of_completed_tags_that_is_no_text_is_named(miniature, tmp_path):
    (tmp_path / "completed.txt").write_bytes(b"a.jpg$\xff")
    config = recipe("clip", miniature, tmp_path / "out", objective={"completed": str(tmp_path / "completed.txt")})
    with pytest.raises(ConfigError, match=r"objective\.completed=.*completed\.txt cannot be read: 'utf-8' .*write it with"):
        start_method(config, lines_of(config), CPU)


def test_other_completed_tags_are_another_training(miniature, tmp_path):
    path = tmp_path / "completed.txt"
    path.write_text("a.jpg$red$a$red Audi\n")
    config = recipe("clip", miniature, tmp_path / "out", objective={"completed": str(path)}, train={"steps": 2, "global_batch": 4})
    with pytest.raises(Stopped):
        train(config, StopAfter(0))
    path.write_text("a.jpg$red$a$red BMW\n")
    with pytest.raises(ContractError, match="another config or other data"):
        train(config, StopRequest())
    path.write_text("a.jpg$red$a$red Audi\n")
    assert train(config, StopRequest())["steps"] == 2
