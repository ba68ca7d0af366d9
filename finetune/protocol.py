"""What a checkpoint's metadata says of its training's data and of its evaluation.

Training writes it, so that evaluation and search repeat what was validated, and no identity that was trained on is taken for held out.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from finetune.best import find_checkpoint
from finetune.config import PAPER, VALIDATION, DataConfig, EvalConfig, FinetuneConfig
from finetune.datasets import own
from finetune.datasets.lines import TrainingLines, has_validation
from finetune.methods.aptm_searcher import AptmSearcher
from finetune.recipes import Recipe
from pipeline.config import build, to_dict
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import sha256_file
from pretrain.checkpoint import METADATA_FILE, load_model, read_facts, resolve
from pretrain.history import PROTOCOL, TRAINED_ON, is_paper, knows_its_start, metadata_of, trained_on
from pretrain.models.aptm import APTM
from pretrain.settings import AugmentConfig
from pretrain.tokenizer import CaptionTokenizer

MEASURED_ON = "measured_on"  # entry of a checkpoint's metadata


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


def start_of(config: Recipe) -> Path | None:
    """The weights that a training starts from: a checkpoint folder, or the file or folder of `init.weights`; None if they are random."""
    if config.init.checkpoint:
        return resolve(find_checkpoint(Path(config.init.checkpoint)))
    weights = None if isinstance(config, FinetuneConfig) else config.init.weights
    return Path(weights) if weights else None


def checkpoint_facts(config: Recipe, lines: TrainingLines, newest: Path | None) -> dict[str, Any]:
    """What every checkpoint of a training says of it; of the data, also what the weights to start from say of theirs.

    newest: the checkpoint that it goes on from, which knows that; the start may have changed since.
    """
    protocol = asdict(Protocol.of(config)) if isinstance(config, FinetuneConfig) else {"eval": to_dict(config.eval)}
    kinds, share = sorted({line.kind for line in lines.records}), 0.0 if config.eval.paper_protocol else config.data.val_share
    own_data = {"name": config.data.name, "val_share": share, "annotation": lines.digest, "kinds": kinds}
    known = metadata_of(newest) if newest else {}
    if not knows_its_start(known):
        known = metadata_of(start) if (start := start_of(config)) else {}
    before = trained_on(known)
    return {"seed": config.seed, PROTOCOL: protocol, TRAINED_ON: [*(data for data in before if data != own_data), own_data]}


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
    metadata = _metadata(folder)
    if PROTOCOL not in metadata:
        return None
    return PAPER if is_paper(metadata) else VALIDATION


def check_kind(folder: Path, kind: str, option: str) -> None:
    """Raises ConfigError if a checkpoint says that it was trained on other kinds alone. option: where it was given for this one."""
    metadata = _metadata(folder)
    own = trained_on(metadata)[-1:] if PROTOCOL in metadata else []  # a pre-training names what was before it alone
    kinds = own[0].get("kinds", [kind]) if own else [kind]  # older ones do not say it
    if kind not in kinds:
        said = " and ".join(kinds)
        raise ConfigError(f"{option} {folder} was trained on {said} lines alone; give it with --{kinds[0]}s, or another one here")


def seen_in_validation(weights: Path, data: DataConfig) -> str | None:
    """Why weights were trained on identities that `data` holds out for validation; None if they were not, as far as is known.

    weights: a checkpoint folder, or weights from elsewhere, of which nothing is known.
    """
    trainings = trained_on(metadata_of(weights))
    if not trainings or has_validation(data):
        return None
    same = [training for training in reversed(trainings) if _may_be(training, data)]
    if not same or data.val_share <= (most := min(same, key=itemgetter("val_share")))["val_share"]:
        return None
    whose = "was" if most is trainings[-1] else "began with weights that were"
    found = f"data.name={data.name} has no validation split, and {weights} {whose} trained"
    if most["val_share"]:
        return f"{found} on some identities that data.val_share={data.val_share} holds out; accepted: at most {most['val_share']}"
    unsaid = "" if "name" in most else ", on a data set that it does not name,"
    return f"{found}{unsaid} with eval.paper_protocol=true, for which no identity is held out"


def _may_be(training: Mapping[str, Any], data: DataConfig) -> bool:
    """Was it on this data set, or does it not say? Sets of one's own are told apart by their files; published ones have several forms."""
    if "name" not in training:
        return True
    if training["name"] != data.name:
        return False
    return data.name != "own" or training["annotation"] == sha256_file(own.annotation(Path(data.folder)))


def _metadata(folder: Path) -> dict[str, Any]:
    return read_facts(_metadata_file(folder).parent)


def _metadata_file(folder: Path) -> Path:
    return resolve(find_checkpoint(folder)) / METADATA_FILE
