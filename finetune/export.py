"""A checkpoint to give away, and how such a folder is opened again.

The folder has the layout of every checkpoint of ours (`model.safetensors`, `config.json`, tokenizer files, `metadata.json`) and a README.md
with what is known of the model, in the form that model hubs read. With --encoders: `image_encoder.pt2` and `text_encoder.pt2`, programs of
`torch.export` for any number of pictures or texts.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from finetune.best import find_checkpoint
from finetune.colour import FILE as COLOURS_FILE
from finetune.methods.aptm_searcher import AptmSearcher
from finetune.methods.base import Searcher
from finetune.methods.blip_searcher import BlipSearcher
from finetune.methods.clip_searcher import ClipSearcher
from finetune.methods.files import architecture
from finetune.methods.pairs import Size
from finetune.methods.start import open_searcher
from finetune.models import clip
from finetune.protocol import MEASURED_ON, selection_of
from pipeline.contracts.errors import ConfigError, StageError
from pipeline.fileio import sha256_file, write_bytes
from pretrain.checkpoint import METADATA_FILE, MODEL_FILE, TRAINING_STATE, check_foreign, read_facts, resolve
from pretrain.engine import pick_device
from pretrain.history import is_paper, trained_on

IMAGE_PROGRAM, TEXT_PROGRAM = "image_encoder.pt2", "text_encoder.pt2"
TOLERANCE = 1e-4  # absolute, of exported against eager features, float32


def from_pretrained(folder: str | Path, device: str = "auto") -> Searcher:
    """The model of an exported folder or any checkpoint, ready to embed pictures and texts."""
    return open_searcher(Path(folder), pick_device(device))


def export_checkpoint(checkpoint: Path, out: Path, encoders: bool = False) -> dict[str, Any]:
    """Copy what searching needs, write the card.

    Raises ConfigError if a training keeps its checkpoints in `out`, StageError if an exported encoder differs from the model it came from,
    ContractError for a checkpoint that is not whole.
    """
    folder = resolve(find_checkpoint(checkpoint))
    if out.resolve() == folder.resolve():
        raise ConfigError(f"--out {out} is the checkpoint itself; give another folder")
    check_foreign(out)
    searcher = open_searcher(folder, torch.device("cpu"))  # half a model, or another's, must not be given away
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StageError(f"--out {out} cannot be made ({err.strerror}); give another folder") from err
    for name in (METADATA_FILE, COLOURS_FILE, IMAGE_PROGRAM, TEXT_PROGRAM):  # of another model that was exported to this folder
        (out / name).unlink(missing_ok=True)
    for path in sorted(folder.iterdir()):
        if path.name not in (TRAINING_STATE, METADATA_FILE) and path.is_file():
            shutil.copyfile(path, out / path.name)
    report: dict[str, Any] = {"out": str(out), "architecture": architecture(folder), "sha256": sha256_file(out / MODEL_FILE)}
    if encoders:
        report["largest_difference"] = _export_encoders(searcher, out)
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


TEXTS = ("a man in a black coat", "a woman", "a tall person with short hair who wears a long red coat and carries a backpack")


def example_inputs(searcher: Searcher, texts: Sequence[str] = TEXTS) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """As many random pictures as texts, and the tokenised texts, as the encoders take them."""
    if isinstance(searcher, AptmSearcher):
        size: Any = searcher.model.config.vision
        tokens = searcher.tokenizer(texts, searcher.max_tokens)
    elif isinstance(searcher, BlipSearcher):
        side = searcher.model.config.vision_config.image_size
        size, tokens = Size(side, side), searcher.tokenizer(texts)
    else:
        assert isinstance(searcher, ClipSearcher)
        size = searcher.towers.config
        ids = searcher.tokenizer(texts, size.context)
        tokens = (ids, torch.ones_like(ids))
    return torch.randn(len(texts), 3, size.height, size.width, generator=torch.Generator().manual_seed(0)), tokens


def _export_encoders(searcher: Searcher, out: Path) -> float:
    """Any number of pictures, and of texts of any length that the model reads. Checked on one and on three of them."""
    searcher.model.eval()
    pixels, tokens = example_inputs(searcher)
    one, one_text = example_inputs(searcher, TEXTS[1:2])
    batch, row = {0: Dim.DYNAMIC}, {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    worst = _export(ImageEncoder(searcher), [(pixels,), (one,)], (batch,), out / IMAGE_PROGRAM)
    return max(worst, _export(TextEncoder(searcher), [tokens, one_text], (row, row), out / TEXT_PROGRAM))


@torch.no_grad()
def _export(module: nn.Module, inputs: Sequence[tuple[Tensor, ...]], dynamic: tuple[Any, ...], path: Path) -> float:
    """Largest difference of the saved and reopened program from the module, over all of `inputs`; the first ones are traced."""
    module.eval()
    program = torch.export.export(module, inputs[0], dynamic_shapes=dynamic)
    torch.export.save(program, path)
    again = torch.export.load(path).module()
    worst = max(float((again(*given) - module(*given)).abs().max()) for given in inputs)
    if not worst <= TOLERANCE:
        raise StageError(f"{path} differs from the model by {worst:.2e}, more than {TOLERANCE}; do not use it")
    return worst


def _card(folder: Path, report: dict[str, Any]) -> str:
    facts = read_facts(folder)
    scores, where = facts.get("val", {}).get("all", {}), _measured_on(facts)
    shown = {name: value for name, value in scores.items() if name != "official" or where["data_set"] == "challenge"}
    table = "".join(f"| {name} | {100 * value:.2f} % |\n" for name, value in shown.items())
    sizes = [f"{where[name]} {name}" for name in ("queries", "pictures") if name in where]
    place = ", ".join([where["data_set"], where["split"], *sizes])
    measured = (
        f"Scores that chose it ({selection_of(folder)}), on {place}:\n\n| score | value |\n|---|---|\n{table}"
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
        "from pathlib import Path",
        "",
        "import torch",
        "from finetune.export import from_pretrained",
        "",
        'searcher = from_pretrained("THIS FOLDER")',
        'texts = searcher.embed_texts(["a man in a red coat"]).feat  # (1, D), normalised',
        'pixels = searcher.pixels(Path("a.jpg").read_bytes(), "a.jpg")  # (3, H, W)',
        "pictures = searcher.embed_images(torch.from_numpy(pixels)[None]).feat",
        "print(texts @ pictures.T)  # cosines",
        "```",
        "",
        measured,
        "The licence of the weights follows from the data and the weights that they were trained from; passerby does not know it.",
        "Retrieval of persons touches privacy: use it on pictures that you may use so.",
        "",
    )
    return "\n".join(lines)


def _measured_on(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What its scores are of; older checkpoints do not say it, and name the data set that they were trained on at most."""
    data_set = (trained_on(facts) or [{}])[-1].get("name", "a data set that it does not name")
    former = {"data_set": data_set, "split": "test" if is_paper(facts) else "val"}
    return {**former, **facts.get(MEASURED_ON, {})}
