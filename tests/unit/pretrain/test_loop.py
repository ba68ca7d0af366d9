"""What ranks agree on before they continue, and what is made up then."""

import shlex
import socket
from pathlib import Path

import pytest
import torch

from pipeline.config import apply_overrides
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import write_json
from pipeline.signals import StopRequest
from pretrain import checkpoint, loop
from tests.unit.pretrain.ranks import run_ranks
from tests.unit.pretrain.samples import tiny_config


def _started(rank: int, roots: list[Path], identities: list[str]) -> str:
    try:
        return str(loop.newest(roots[rank], identities[rank]))
    except ConfigError as err:
        return str(err)


def test_ranks_that_would_continue_different_trainings_are_named_on_all_ranks(tmp_path: Path) -> None:
    """As with an `out` or shards of each node's own."""
    shared, own = tmp_path / "shared", tmp_path / "own"
    write_json(shared / "step-00000004" / checkpoint.METADATA_FILE, {"training": "a"})
    where = f"rank 1 on {socket.gethostname()}"
    (first, second) = run_ranks(_started, 2, tmp_path, [shared, own], ["a", "a"])
    assert first == second
    assert first.startswith(f"{where} finds no checkpoint in `out`, ")
    assert first.endswith("step-00000004; it must be one folder that all nodes share")
    (here := tmp_path / "2").mkdir()
    assert all(f"{where} has another config" in text for text in run_ranks(_started, 2, here, [shared, shared], ["a", "b"]))
    (here := tmp_path / "3").mkdir()
    assert set(run_ranks(_started, 2, here, [shared, shared], ["a", "a"])) == {str(shared / "step-00000004")}
    with pytest.raises(Exception, match="another config or other data"):
        loop.newest(shared, "b")


def _agreed(rank: int, out: Path) -> dict[str, float]:
    """What two ranks agree on, of which only the first has rows."""
    terms = {"iac": 4.0, "iam": 2.0, "iam_right": 1.0, "iam_rows": 2.0}
    terms = terms if rank == 0 else dict.fromkeys(terms, 0.0)
    tensors = {name: torch.tensor(value) for name, value in terms.items()}
    absent, way_out = ({"iac"} if rank else set()), loop.WayOut(out, tiny_config(out, out))
    return loop.agree(tensors, torch.tensor(1.0), 0, StopRequest(), (), absent, way_out)[0]


def test_accuracies_are_shares_of_the_rows_of_all_ranks_and_losses_what_was_optimised(tmp_path: Path) -> None:
    expected = {"iac": 2.0, "iam": 1.0, "iam_accuracy": 0.5, "total": 1.0}
    assert run_ranks(_agreed, 2, tmp_path, tmp_path) == [expected, expected]


def test_the_way_out_names_what_is_not_set_already_and_the_weights_that_a_checkpoint_replaces(shards: Path, tmp_path: Path) -> None:
    clipped = tiny_config(shards, tmp_path, optim={"clip_norm": 1.0}, init={"swin": "swin.pth"})
    assert loop.WayOut(tmp_path, clipped).text() == "lower optim.lr and run again; there is no checkpoint yet"
    newest = tmp_path / "run" / "step-00000004"
    write_json(newest / checkpoint.METADATA_FILE, {})
    expected = f"lower optim.lr in another `out`, with init.checkpoint={newest} init.swin=null: moments, "
    assert loop.WayOut(newest.parent, clipped).text().startswith(expected)


@pytest.mark.parametrize("name", ["my run", "café", "x #1", "k: v", "a$HOME", "it's", 'a"b'])
def test_the_way_out_can_be_pasted_whatever_the_folder_is_called(shards: Path, tmp_path: Path, name: str) -> None:
    newest = tmp_path / name / "step-00000004"
    write_json(newest / checkpoint.METADATA_FILE, {})
    said = loop.WayOut(newest.parent, tiny_config(shards, tmp_path)).text()
    (item,) = shlex.split(said.partition("with ")[2].rpartition(": moments")[0])
    assert apply_overrides({}, [item]) == {"init": {"checkpoint": str(newest)}}


@pytest.mark.parametrize("name", ["@run", "%run", ",run", "run"])
def test_that_holds_for_a_relative_folder_too_whose_name_begins_as_no_yaml_does(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    newest = Path(name) / "step-00000004"
    write_json(newest / checkpoint.METADATA_FILE, {})
    said = loop.WayOut(newest.parent, tiny_config(shards, tmp_path)).text()
    (item,) = shlex.split(said.partition("with ")[2].rpartition(": moments")[0])
    assert apply_overrides({}, [item]) == {"init": {"checkpoint": str(newest)}}
