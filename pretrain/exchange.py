"""Weights of others as checkpoint folders of ours: `passerby import-checkpoint`."""

from dataclasses import replace
from pathlib import Path

from pipeline.contracts.errors import ConfigError
from pretrain import checkpoint
from pretrain.config import InitConfig, PretrainConfig
from pretrain.history import handed_on
from pretrain.initialize import initialise
from pretrain.models.layout import KeyReport
from pretrain.tokenizer import CaptionTokenizer, resolve_vocab
from pretrain.train import build_model


def import_weights(config: PretrainConfig, aptm: Path | None, swin: Path | None, bert: Path | None, out: Path) -> dict[str, KeyReport]:
    """Write a checkpoint at step 0; returns a key report per source. What no source holds keeps the random weights of `config.seed`.

    Raises ConfigError or ContractError for a file that does not fit the model, or a folder that holds a checkpoint already or is where a
    training keeps its own.
    """
    if not (aptm or swin or bert):
        raise ConfigError("nothing to import; give --aptm, or --swin and --bert")
    if (out / checkpoint.METADATA_FILE).exists():
        raise ConfigError(f"{out} holds a checkpoint already; give another --out")
    checkpoint.check_foreign(out)
    sources = {"checkpoint": aptm, "swin": swin, "bert": bert}
    init = InitConfig(**{name: str(path) if path else None for name, path in sources.items()})
    tokenizer = CaptionTokenizer(resolve_vocab(config.text.vocab))
    model = build_model(replace(config, init=init), tokenizer)
    reports = initialise(model, tokenizer, init)
    facts = {"step": 0, "position": 0, "seconds": 0.0, "imported": {name: path.name for name, path in sources.items() if path}}
    if aptm:
        facts |= handed_on(aptm)
    checkpoint.save_model(out, model, tokenizer, facts)
    return reports
