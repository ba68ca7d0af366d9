"""Checkpoints: folders that anything which reads safetensors and JSON can open.

OUT/checkpoint/step-00000200/ holds model.safetensors in the published key layout, config.json, vocab.txt, training_state/ (optimizer) and,
last, metadata.json: without it a folder does not count. OUT/checkpoint/latest names the newest folder and is renamed into place; where
it is missing or names no whole folder, the newest whole one counts.
The training's random numbers need no state: they follow from (seed, step, rank) and (seed, epoch, key).
"""

import logging
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.config import build, to_dict
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.fileio import read_json, write_bytes, write_json
from pipeline.paths import is_training
from pipeline.version import code_version
from pretrain.distributed import rank
from pretrain.models.aptm import APTM
from pretrain.models.layout import KeyReport, load_whole, published_state
from pretrain.models.settings import AptmConfig
from pretrain.tokenizer import VOCAB_FILE, CaptionTokenizer, read_vocab

MODEL_FILE, CONFIG_FILE, METADATA_FILE = "model.safetensors", "config.json", "metadata.json"
TRAINING_STATE = "training_state"
LATEST = "latest"
ARCHITECTURE = "aptm"
log = logging.getLogger("pretrain")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in eval mode, what it needs, and what became of every key."""

    model: APTM
    tokenizer: CaptionTokenizer
    config: AptmConfig
    report: KeyReport
    metadata: dict[str, Any]


def save_model(folder: Path, model: APTM, tokenizer: CaptionTokenizer, extra: dict[str, Any]) -> None:
    """Write a whole checkpoint folder, metadata (`extra` and the code version) last. Raises StageError when the disk is full."""
    write_bytes(folder / MODEL_FILE, save(published_state(model), metadata={"format": "pt"}))
    write_json(folder / CONFIG_FILE, {"architecture": ARCHITECTURE, **to_dict(model.config)})
    tokenizer.save(folder)
    write_json(folder / METADATA_FILE, {**extra, "code_version": code_version()})


def load_model(folder: Path, device: str | torch.device = "cpu") -> LoadedModel:
    """From a checkpoint folder, or a folder of checkpoints: then from its latest.

    Raises ConfigError if there is no checkpoint, ContractError if one is not whole or not of its config.
    """
    folder = resolve(folder)
    config = read_model_config(folder)
    with needed(folder / VOCAB_FILE) as path:
        tokenizer = CaptionTokenizer(path, None)
    if len(tokenizer) != config.text.vocab_size:
        raise ContractError(
            f"{folder / VOCAB_FILE} has {len(tokenizer)} pieces, {CONFIG_FILE} says {config.text.vocab_size}; restore the file"
        )
    model = APTM(config)
    report = load_weights(model, folder)
    return LoadedModel(model.to(device).eval(), tokenizer, config, report, read_facts(folder))


def load_weights(model: APTM, folder: Path) -> KeyReport:
    """Copy the weights of one checkpoint folder into a model of the same config. Raises ContractError if they are not all there."""
    return load_whole(model, read_weights(folder), str(folder / MODEL_FILE))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Of one checkpoint folder, of any architecture."""
    return read_tensors(folder / MODEL_FILE)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file of a checkpoint folder or of its training state.

    Raises ContractError if it is absent or damaged, StageError if it cannot be read.
    """
    with needed(path):
        try:
            return load_file(path)
        except (OSError, SafetensorError) as err:
            raise ContractError(f"{path} is not a readable safetensors file ({err})") from err


def read_facts(folder: Path, name: str = METADATA_FILE) -> dict[str, Any]:
    """metadata.json or config.json of one checkpoint folder. Raises as `read_tensors` does."""
    with needed(folder / name) as path:
        if not isinstance(found := read_json(path), dict):
            raise ContractError(f"{path} holds a {type(found).__name__}; accepted: an object")
        return found


@contextmanager
def needed(path: Path) -> Iterator[Path]:
    """A block that reads this file of a checkpoint folder and raises ConfigError or ContractError if it is damaged.

    Raises ContractError with the way out then, and where there is no such file; StageError if it cannot be opened.
    """
    try:
        check_opens(path, str(path))
        yield path
    except FileNotFoundError as err:
        raise ContractError(f"{path} does not exist; {_without(path)}") from err
    except (ConfigError, ContractError) as err:
        raise ContractError(f"{err}; {_without(path)}") from err


def check_opens(path: Path, named: str) -> None:
    """Raises FileNotFoundError, or StageError where the file is there but cannot be opened: safetensors says of both that it does not
    exist. named: the file, and the field it stands in, for the message."""
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise
    except OSError as err:
        raise StageError(f"{named} cannot be read: {err.strerror or err}") from err


def _without(path: Path) -> str:
    """The way out of a file of a checkpoint folder that is absent or damaged."""
    folder = path.parent.parent if path.parent.name == TRAINING_STATE else path.parent
    return f"delete the folder {folder}{_afterwards(folder)}"


def _afterwards(folder: Path) -> str:
    """What becomes of a training, or of the user, without this checkpoint folder."""
    if folder.parent.name != "checkpoint" or not folder.name.startswith(("best-", "step-")):  # of no training, such as a copy
        return " and use another one"
    if folder.name.startswith("best-"):
        return " and run the training again: it goes on from its newest checkpoint and chooses anew"
    others = [other.name for other in whole(folder.parent) if other != folder]
    return f"; its training goes on from {others[-1]}" if others else "; there is no other beside it, and its training begins anew"


def check_vocabulary(folder: Path, tokenizer: CaptionTokenizer) -> None:
    """Raises ContractError if a checkpoint has other pieces than `text.vocab`: the same ids would mean other words."""
    with needed(folder / VOCAB_FILE) as path:
        pieces = read_vocab(path, None)
    if pieces != tokenizer.pieces:
        raise ContractError(
            f"{folder / VOCAB_FILE} has other pieces than text.vocab={tokenizer.vocab_file}; set text.vocab to a copy of the former"
        )


def read_model_config(folder: Path) -> AptmConfig:
    """config.json of a checkpoint folder. Raises ContractError if it is of another architecture."""
    values = read_facts(folder, CONFIG_FILE)
    if values.pop("architecture", None) != ARCHITECTURE:
        raise ContractError(f"{folder / CONFIG_FILE} describes no {ARCHITECTURE} model; give a checkpoint of `python -m pretrain train`")
    return build(AptmConfig, values, str(folder / CONFIG_FILE))


def resolve(folder: Path) -> Path:
    """The checkpoint folder meant by `folder`: itself, or the newest in it, or in the `checkpoint` of a training's folder.

    Raises ConfigError if there is none.
    """
    if found := _meant(folder):
        return found
    if folder.is_file():
        raise ConfigError(f"{folder} is a file, and a checkpoint is a folder; {_folder_instead(folder)}")
    raise ConfigError(f"{folder} is no checkpoint (no {METADATA_FILE}) and holds none; give a folder that a training wrote")


def _meant(folder: Path) -> Path | None:
    return _one_of(folder, latest)


def _one_of(folder: Path, newest: Callable[[Path], Path | None]) -> Path | None:
    places = (folder, folder / "checkpoint")
    return next((place for place in places if (place / METADATA_FILE).is_file()), None) or next(filter(None, map(newest, places)), None)


def _folder_instead(file: Path) -> str:
    """What to give in the place of this file: where it is one that we write, the folder that it stands for, else what makes one of it."""
    if file.name == LATEST and (named := _newest(file.parent)):
        return f"give {named}"
    state = next((place for place in file.parents if place.name == TRAINING_STATE), None)
    is_whole = (file.parent / METADATA_FILE).is_file() and file.suffix == ".safetensors"
    if state or is_whole or file.suffix not in (".pth", ".pt", ".bin", ".safetensors"):
        near = list((state or file).parents)[:2]
        return f"give {next((place for place in near if _one_of(place, _newest)), 'one that a training wrote')}"
    return (
        f"of published APTM weights, make one with `passerby import-checkpoint --aptm {shlex.quote(str(file))} --config RECIPE "
        "--out FOLDER` (RECIPE: of a pre-training, with their architecture)"
    )


def check_foreign(out: Path) -> None:
    """Raises ConfigError if a checkpoint from elsewhere in `out` would be taken for one of a training: OUT, OUT/checkpoint, below it."""
    place = out.resolve()
    owners = (place, *(folder.parent for folder in (place, *place.parents) if folder.name == "checkpoint"))
    if (place / TRAINING_STATE).exists() or any(map(is_training, owners)):
        raise ConfigError(f"--out {out} is where a training keeps its own checkpoints, and it could not go on; give another folder")


def check_own(root: Path) -> None:
    """Raises ConfigError if a checkpoint from elsewhere lies in OUT or OUT/checkpoint: it would be taken for what the training writes."""
    for folder in (root.parent, root):
        if (folder / METADATA_FILE).is_file():
            raise ConfigError(
                f"{folder} holds a checkpoint from elsewhere ({METADATA_FILE}), which would be taken for the training's own; "
                "give another `out`, or move that checkpoint to a folder of its own"
            )


def latest(root: Path) -> Path | None:
    """The checkpoint below OUT/checkpoint that its pointer names, else the newest whole one, which is logged; None if there is none."""
    found = _newest(root)
    if found and found != _named(root) and rank() == 0:
        log.warning("%s names no whole checkpoint; the newest whole one is used, %s", root / LATEST, found)
    return found


def _newest(root: Path) -> Path | None:
    return _named(root) or next(reversed(whole(root)), None)


def _named(root: Path) -> Path | None:
    """The whole checkpoint that the pointer names."""
    pointer = root / LATEST
    folder = root / pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None
    return folder if folder and (folder / METADATA_FILE).is_file() else None


def whole(root: Path) -> list[Path]:
    """The whole checkpoints below OUT/checkpoint, oldest first."""
    return sorted(path.parent for path in root.glob(f"step-*/{METADATA_FILE}"))


def step_folder(root: Path, step: int) -> Path:
    """Below OUT/checkpoint, after so many steps."""
    return root / f"step-{step:08d}"


def clear(folder: Path) -> None:
    """Delete what a killed save left in the folder of this step."""
    if folder.exists():
        shutil.rmtree(folder)


def publish(root: Path, folder: Path, keep: int) -> None:
    """Make `folder` the latest, then delete all whole checkpoints but the newest `keep`, and what a killed save left behind."""
    write_bytes(root / LATEST, f"{folder.name}\n".encode())
    stale = set(root.glob("step-*")) - set(whole(root)[-keep:]) - {folder}
    for path in stale:
        shutil.rmtree(path)
