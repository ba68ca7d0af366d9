"""What a checkpoint's metadata says of its evaluation: training writes it, so that evaluation and search repeat what was validated."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from finetune.best import find_checkpoint
from finetune.config import EvalConfig, FinetuneConfig
from finetune.methods.aptm_searcher import AptmSearcher
from finetune.recipes import Recipe
from pipeline.config import build, to_dict
from pipeline.fileio import read_json
from pretrain.checkpoint import METADATA_FILE, load_model, resolve
from pretrain.models.aptm import APTM
from pretrain.settings import AugmentConfig
from pretrain.tokenizer import CaptionTokenizer

PROTOCOL = "evaluation"  # entry of a checkpoint's metadata


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


def protocol_json(config: Recipe) -> dict[str, Any]:
    """What a checkpoint's metadata says of its evaluation."""
    return asdict(Protocol.of(config)) if isinstance(config, FinetuneConfig) else {"eval": to_dict(config.eval)}


def open_aptm(folder: Path, device: torch.device) -> AptmSearcher:
    """With the protocol that it was validated with, the published one for a pre-trained checkpoint."""
    loaded = load_model(folder, device)
    protocol = build(Protocol, loaded.metadata.get(PROTOCOL, {}), f"{folder} (metadata)")
    return protocol.searcher(loaded.model, loaded.tokenizer)


def eval_of(folder: Path) -> EvalConfig:
    """The evaluation settings that a checkpoint was validated with."""
    found = resolve(find_checkpoint(folder))
    values = read_json(found / METADATA_FILE).get(PROTOCOL, {}).get("eval", {})
    return build(EvalConfig, values, f"{found} (metadata)")
