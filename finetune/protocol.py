"""What a checkpoint's metadata says of its training's data and of its evaluation.

Training writes it, so that evaluation and search repeat what was validated, and no identity that was trained on is taken for held out.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from finetune.best import find_checkpoint
from finetune.config import DataConfig, EvalConfig, FinetuneConfig
from finetune.datasets import own
from finetune.datasets.lines import TrainingLines, has_validation
from finetune.methods.aptm_searcher import AptmSearcher
from finetune.recipes import Recipe
from pipeline.config import build, to_dict
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import read_json, sha256_file
from pretrain.checkpoint import METADATA_FILE, load_model, resolve
from pretrain.models.aptm import APTM
from pretrain.settings import AugmentConfig
from pretrain.tokenizer import CaptionTokenizer

PROTOCOL, TRAINED_ON, MEASURED_ON = "evaluation", "trained_on", "measured_on"  # entries of a checkpoint's metadata


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What an evaluation of APTM needs to know beside the model."""

    max_tokens: int = 56
    max_words: int = 56
    clean: bool = False
    image: AugmentConfig = field(default_factory=AugmentConfig)  # mean and std count
    eval: EvalConfig = field(default_factory=EvalConfig)

    @classmethod
    def of(cls, config: FinetuneConfig) -> "Protocol":
        text = config.text
        return cls(max_tokens=text.max_tokens, max_words=text.max_words, clean=text.clean, image=config.image, eval=config.eval)

    def searcher(self, model: APTM, tokenizer: CaptionTokenizer) -> AptmSearcher:
        return AptmSearcher(model, tokenizer, self.image, self.max_tokens, self.max_words, self.clean)


def checkpoint_facts(config: Recipe, lines: TrainingLines) -> dict[str, Any]:
    """What every checkpoint of a training says of it."""
    protocol = asdict(Protocol.of(config)) if isinstance(config, FinetuneConfig) else {"eval": to_dict(config.eval)}
    kinds = sorted({line.kind for line in lines.records})
    trained_on = {"name": config.data.name, "val_share": config.data.val_share, "annotation": lines.digest, "kinds": kinds}
    return {"seed": config.seed, PROTOCOL: protocol, TRAINED_ON: trained_on}


def open_aptm(folder: Path, device: torch.device) -> AptmSearcher:
    """With the protocol that it was validated with, the published one for a pre-trained checkpoint."""
    loaded = load_model(folder, device)
    protocol = build(Protocol, loaded.metadata.get(PROTOCOL, {}), f"{folder} (metadata)")
    return protocol.searcher(loaded.model, loaded.tokenizer)


def eval_of(folder: Path) -> EvalConfig:
    """The evaluation settings that a checkpoint was validated with."""
    return build(EvalConfig, _metadata(folder).get(PROTOCOL, {}).get("eval", {}), str(_metadata_file(folder)))


def selection_of(folder: Path) -> str | None:
    """How a checkpoint was selected, None if no fine-tuning wrote it."""
    return eval_of(folder).selection if PROTOCOL in _metadata(folder) else None


def check_kind(folder: Path, kind: str, option: str) -> None:
    """Raises ConfigError if a checkpoint says that it was trained on other kinds alone. option: where it was given for this one."""
    kinds = _metadata(folder).get(TRAINED_ON, {}).get("kinds", [kind])  # older ones do not say it
    if kind not in kinds:
        said = " and ".join(kinds)
        raise ConfigError(f"{option} {folder} was trained on {said} lines alone; give it with --{kinds[0]}s, or another one here")


def seen_in_validation(folder: Path, data: DataConfig) -> str | None:
    """Why a checkpoint was trained on identities that `data` holds out for validation; None if it was not, as far as it says."""
    if has_validation(data):
        return None
    trained = _metadata(folder).get(TRAINED_ON)
    if trained and not _is_same_set(trained, data):
        return None
    found = f"data.name={data.name} has no validation split, and {folder} was trained"
    if eval_of(folder).paper_protocol:
        unsaid = "" if trained else ", on a data set that it does not name,"
        return f"{found}{unsaid} with eval.paper_protocol=true, for which no identity is held out"
    if trained and data.val_share > trained["val_share"]:
        return f"{found} on some identities that data.val_share={data.val_share} holds out; accepted: at most {trained['val_share']}"
    return None


def _is_same_set(trained: Mapping[str, Any], data: DataConfig) -> bool:
    """Sets of one's own are told apart by their files; a published one comes in several forms."""
    if trained["name"] != data.name:
        return False
    return data.name != "own" or trained["annotation"] == sha256_file(own.annotation(Path(data.folder)))


def _metadata(folder: Path) -> dict[str, Any]:
    return read_json(_metadata_file(folder))


def _metadata_file(folder: Path) -> Path:
    return resolve(find_checkpoint(folder)) / METADATA_FILE
