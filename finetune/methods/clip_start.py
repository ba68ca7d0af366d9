"""Where CLIP's towers come from: a checkpoint of ours, published weights, or random ones."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from finetune.best import find_checkpoint
from finetune.methods.files import read_config
from finetune.models.clip_settings import ClipConfig
from finetune.models.clip_weights import fit, read_clip, resize_positions, sized, weight_file
from finetune.models.irra import IrraConfig
from finetune.recipes import ClipRecipe, IrraRecipe
from pipeline.config import build
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import sha256_file
from pretrain.checkpoint import MODEL_FILE, read_weights, resolve


@dataclass(frozen=True, slots=True)
class ClipStart:
    """state: under the model's names from a checkpoint, under CLIP's from published weights. source: what to tell the user; weights: sha256
    of their file, "random" without one; folder: where they lie, with the merges of their tokenizer if they have their own."""

    clip: ClipConfig
    state: dict[str, Tensor]
    source: str
    weights: str
    folder: Path | None


def start_clip(config: IrraRecipe | ClipRecipe) -> ClipStart:
    """Raises ConfigError if `model.clip` is not that of the checkpoint."""
    model, name = config.model, config.init.weights
    if config.init.checkpoint:
        folder = resolve(find_checkpoint(Path(config.init.checkpoint)))
        values = read_config(folder, config.method)
        clip = build(IrraConfig, values, str(folder)).clip if config.method == "irra" else build(ClipConfig, values, str(folder))
        if model.clip and model.clip != clip:
            raise ConfigError(f"model.clip differs from the architecture of init.checkpoint={config.init.checkpoint}; leave it out")
        wanted = model.clip or sized(clip, model.height, model.width)
        state, table = read_weights(folder), "base_model.visual.positional_embedding"
        if table in state:
            state[table] = resize_positions(state[table], wanted.grid, clip.grid)
        return ClipStart(wanted, state, str(folder), sha256_file(folder / MODEL_FILE), folder)
    if name is None:
        return ClipStart(model.clip or sized(ClipConfig(), model.height, model.width), {}, "random weights", "random", None)
    path = Path(name)
    state, sizes = read_clip(path)
    clip = sized(sizes, model.height, model.width)
    scale = {"logit_scale": state["logit_scale"]} if "logit_scale" in state and config.method == "clip" else {}
    return ClipStart(clip, fit(state, clip) | scale, name, sha256_file(weight_file(path)), path if path.is_dir() else path.parent)
