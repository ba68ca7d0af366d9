"""A checkpoint to give away, and how such a folder is opened again.

The folder has the layout of every checkpoint of ours (`model.safetensors`, `config.json`, tokenizer files, `metadata.json`) and a README.md
with what is known of the model, in the form that model hubs read. With --encoders: `image_encoder.pt2` and `text_encoder.pt2`.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from finetune.best import find_checkpoint
from finetune.methods.aptm_searcher import AptmSearcher
from finetune.methods.base import Searcher
from finetune.methods.blip import BlipSearcher
from finetune.methods.clip_searcher import ClipSearcher
from finetune.methods.files import architecture
from finetune.methods.start import open_searcher
from finetune.models import clip
from pipeline.contracts.errors import StageError
from pipeline.fileio import read_json, sha256_file, write_bytes
from pretrain.checkpoint import METADATA_FILE, MODEL_FILE, TRAINING_STATE, resolve
from pretrain.engine import pick_device

TOLERANCE = 1e-4  # absolute, of exported against eager features, float32


def from_pretrained(folder: str | Path, device: str = "auto") -> Searcher:
    """The model of an exported folder or any checkpoint, ready to embed pictures and texts."""
    return open_searcher(Path(folder), pick_device(device))


def export_checkpoint(checkpoint: Path, out: Path, encoders: bool = False) -> dict[str, Any]:
    """Copy what searching needs, write the card; raises StageError if an exported encoder differs from the model it came from."""
    folder = resolve(find_checkpoint(checkpoint))
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.name not in (TRAINING_STATE, METADATA_FILE) and path.is_file():
            shutil.copyfile(path, out / path.name)
    report: dict[str, Any] = {"out": str(out), "architecture": architecture(folder), "sha256": sha256_file(out / MODEL_FILE)}
    if encoders:
        report["largest_difference"] = _export_encoders(open_searcher(folder, torch.device("cpu")), out)
    write_bytes(out / "README.md", _card(folder, report).encode())
    shutil.copyfile(folder / METADATA_FILE, out / METADATA_FILE)  # last: it says that the folder is whole
    return report


class ImageEncoder(nn.Module):
    """(B, 3, H, W) -> (B, D) normalised."""

    def __init__(self, searcher: Searcher) -> None:
        super().__init__()
        self.model, self.kind = searcher.model, type(searcher)

    def forward(self, pixels: Tensor) -> Tensor:
        model: Any = self.model
        if self.kind is ClipSearcher:
            return clip.normalised(clip.image_feature(model.base_model.image_tokens(pixels)))
        feature = model.encode_image(pixels)[1]
        return torch.nn.functional.normalize(feature.float(), dim=-1)


class TextEncoder(nn.Module):
    """ids, mask (B, L) int64 -> (B, D) normalised. CLIP has no mask: the second argument is not looked at."""

    def __init__(self, searcher: Searcher) -> None:
        super().__init__()
        self.model, self.kind = searcher.model, type(searcher)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        model: Any = self.model
        if self.kind is ClipSearcher:
            return clip.normalised(clip.text_feature(model.base_model.text_tokens(ids), ids))
        feature = model.encode_text(ids, mask)
        return torch.nn.functional.normalize((feature[1] if isinstance(feature, tuple) else feature).float(), dim=-1)


def example_inputs(
    searcher: Searcher, texts: tuple[str, ...] = ("a man in a black coat", "a woman")
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Two grey pictures and two tokenised texts, as the encoders take them."""
    if isinstance(searcher, AptmSearcher):
        vision = searcher.model.config.vision
        return torch.zeros(2, 3, vision.height, vision.width), searcher.tokenizer(texts, searcher.max_tokens, "max")
    if isinstance(searcher, BlipSearcher):
        side = searcher.model.config.vision_config.image_size
        return torch.zeros(2, 3, side, side), searcher.tokenizer(texts)
    assert isinstance(searcher, ClipSearcher)
    config = searcher.towers.config
    ids = searcher.tokenizer(texts, config.context)
    return torch.zeros(2, 3, config.height, config.width), (ids, torch.ones_like(ids))


def _export_encoders(searcher: Searcher, out: Path) -> float:
    searcher.model.eval()
    pixels, tokens = example_inputs(searcher)
    worst = 0.0
    for name, module, inputs in (("image_encoder", ImageEncoder(searcher), (pixels,)), ("text_encoder", TextEncoder(searcher), tokens)):
        module.eval()
        with torch.no_grad():
            program = torch.export.export(module, inputs)
            torch.export.save(program, out / f"{name}.pt2")
            again = torch.export.load(out / f"{name}.pt2").module()(*inputs)
            difference = float((again - module(*inputs)).abs().max())
        if not difference <= TOLERANCE:
            raise StageError(f"{out / name}.pt2 differs from the model by {difference:.2e}, more than {TOLERANCE}; do not use it")
        worst = max(worst, difference)
    return worst


def _card(folder: Path, report: dict[str, Any]) -> str:
    facts = read_json(folder / METADATA_FILE)
    scores = facts.get("val", {}).get("all", {})
    table = "".join(f"| {name} | {100 * value:.2f} % |\n" for name, value in scores.items())
    measured = (
        f"Scores of the validation that chose it:\n\n| score | value |\n|---|---|\n{table}"
        if table
        else "No scores are recorded for this checkpoint.\n"
    )
    lines = (
        "---",
        "library_name: passerby",
        "pipeline_tag: image-text-retrieval",
        "---",
        f"# {report['architecture']} for text-to-image person and vehicle retrieval",
        "",
        f"Written by passerby {facts.get('code_version', '')}, step {facts.get('step', 'unknown')}, seed {facts.get('seed', 'unknown')}.",
        f"sha256 of `{MODEL_FILE}`: `{report['sha256']}`.",
        "",
        "```python",
        "from finetune.export import from_pretrained",
        'searcher = from_pretrained("THIS FOLDER")',
        "```",
        "",
        measured,
        "The licence of the weights follows from the data and the weights that they were trained from; passerby does not know it.",
        "Retrieval of persons touches privacy: use it on pictures that you may use so.",
        "",
    )
    return "\n".join(lines)
