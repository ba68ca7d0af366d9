"""What makes two trainings the same: the pieces of the vocabulary, not its path."""

from pathlib import Path

import pytest

from pipeline.contracts.errors import ContractError
from pipeline.signals import Stopped, StopRequest
from pretrain.config import PretrainConfig
from pretrain.tokenizer import EMBEDDED_VOCAB
from pretrain.train import train
from tests.unit.pretrain.samples import tiny_config
from tests.unit.pretrain.test_train import StopAfter


@pytest.fixture
def vocabularies(tmp_path: Path) -> tuple[Path, Path]:
    """The embedded pieces, and the same with two changing places."""
    pieces = EMBEDDED_VOCAB.read_text(encoding="utf-8").splitlines()
    swapped = [*pieces[:-2], pieces[-1], pieces[-2]]
    for name, found in (("one.txt", pieces), ("other.txt", swapped)):
        (tmp_path / name).write_text("\n".join(found) + "\n", encoding="utf-8")
    return tmp_path / "one.txt", tmp_path / "other.txt"


def _stopped(config: PretrainConfig) -> None:
    with pytest.raises(Stopped):
        train(config, StopAfter(1))


def test_models_may_move_and_other_pieces_are_another_training(shards: Path, tmp_path: Path, vocabularies: tuple[Path, Path]) -> None:
    one, other = vocabularies
    train(tiny_config(shards, tmp_path / "first", train={"steps": 1}), StopRequest())
    init = {"checkpoint": str(tmp_path / "first" / "checkpoint")}
    _stopped(tiny_config(shards, tmp_path / "out", init=init))
    with pytest.raises(ContractError, match=r"\(what its fields name: data, vocabulary or weights\); put back what was changed"):
        train(tiny_config(shards, tmp_path / "out", text={"vocab": str(other)}), StopRequest())
    (tmp_path / "first").rename(tmp_path / "moved")
    moved = {"checkpoint": str(tmp_path / "moved" / "checkpoint")}
    assert train(tiny_config(shards, tmp_path / "out", text={"vocab": str(one)}, init=moved), StopRequest())["steps"] == 4


def test_a_checkpoint_of_other_pieces_is_no_start(shards: Path, tmp_path: Path, vocabularies: tuple[Path, Path]) -> None:
    train(tiny_config(shards, tmp_path / "first", train={"steps": 1}), StopRequest())
    init = {"checkpoint": str(tmp_path / "first" / "checkpoint")}
    with pytest.raises(ContractError, match=r"vocab\.txt has other pieces than text\.vocab=.*other\.txt"):
        train(tiny_config(shards, tmp_path / "second", text={"vocab": str(vocabularies[1])}, init=init), StopRequest())


def test_a_vocabulary_that_was_overwritten_is_refused_until_it_is_back(
    shards: Path, tmp_path: Path, vocabularies: tuple[Path, Path]
) -> None:
    one, other = vocabularies
    config = tiny_config(shards, tmp_path / "out", text={"vocab": str(one)})
    _stopped(config)
    text = one.read_text(encoding="utf-8")
    one.write_bytes(other.read_bytes())
    with pytest.raises(ContractError, match=r"another config or other data \(what its fields name: data, vocabulary or weights\)"):
        train(config, StopRequest())
    one.write_text(text, encoding="utf-8")
    assert train(config, StopRequest())["steps"] == 4
