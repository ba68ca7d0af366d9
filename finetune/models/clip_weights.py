"""CLIP weights of any published form to ours: OpenAI's, open_clip's (both native names), Hugging Face's, and IRRA checkpoints.

A local file or folder; nothing is downloaded and no pickle is executed. What becomes of every key is reported.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from finetune.models.clip_settings import Activation, ClipConfig, TowerConfig
from finetune.models.torchscript import is_torchscript, read_torchscript
from pipeline.contracts.errors import ConfigError, ContractError, StageError, first_line
from pipeline.fileio import read_json
from pretrain.checkpoint import check_opens

OPENAI_HEAD_WIDTH = 64
WEIGHT_NAMES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
NOT_OURS = ("logit_scale", "input_resolution", "context_length", "vocab_size", "attn_mask")  # of a CLIP file, not part of the towers

_HF_NAMES = (
    (r"vision_model\.embeddings\.class_embedding", "visual.class_embedding"),
    (r"vision_model\.embeddings\.patch_embedding\.weight", "visual.conv1.weight"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "visual.positional_embedding"),
    (r"vision_model\.pre_layrnorm\.(.*)", r"visual.ln_pre.\1"),
    (r"vision_model\.post_layernorm\.(.*)", r"visual.ln_post.\1"),
    (r"vision_model\.encoder\.layers\.(.*)", r"visual.transformer.resblocks.\1"),
    (r"text_model\.embeddings\.token_embedding\.weight", "token_embedding.weight"),
    (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"text_model\.encoder\.layers\.(.*)", r"transformer.resblocks.\1"),
    (r"text_model\.final_layer_norm\.(.*)", r"ln_final.\1"),
    (r"visual_projection\.weight", "visual.proj"),
    (r"text_projection\.weight", "text_projection"),
)
_HF_PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def read_clip(source: Path) -> tuple[dict[str, Tensor], ClipConfig]:
    """State dict under OpenAI's names (with `logit_scale` where the file has one) and the sizes that it implies.

    Raises ConfigError if there is no such file, ContractError if it is not CLIP's.
    """
    state = read_state(weight_file(source))
    folder = source if source.is_dir() else source.parent
    if any(name.startswith("vision_model.") for name in state):
        return from_hugging_face(state), _hugging_face_config(folder)
    state = {name.removeprefix("base_model."): value for name, value in state.items()}
    if "visual.conv1.weight" not in state or "text_projection" not in state:
        raise ContractError(f"{source} holds no CLIP with a vision transformer; its first tensors are {', '.join(list(state)[:3])}")
    return state, _native_config(state, folder)


def read_state(path: Path) -> dict[str, Tensor]:
    """safetensors, a torch pickle of tensors only, or OpenAI's TorchScript archive, of which only the tensors are read. float32."""
    try:
        check_opens(path, str(path))
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = read_torchscript(path) if is_torchscript(path) else torch.load(path, map_location="cpu", weights_only=True)
    except (ContractError, StageError):
        raise
    except FileNotFoundError as err:
        raise ConfigError(f"{path} does not exist") from err
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as err:
        raise ContractError(f"{path} is no readable weight file ({type(err).__name__}: {first_line(err)})") from err
    except Exception as err:  # pickle.UnpicklingError and its kin: something else than tensors is inside
        raise ContractError(
            f"{path} holds more than tensors ({type(err).__name__}: {first_line(err)}); convert it to safetensors where you trust it"
        ) from err
    for key in ("state_dict", "model"):
        state = state.get(key, state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping):
        raise ContractError(f"{path} holds a {type(state).__name__}; accepted: a state dict")
    return {name.removeprefix("module."): value.float() for name, value in state.items() if isinstance(value, Tensor)}


def from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' CLIPModel under OpenAI's names: q, k and v stacked, projections transposed."""
    renamed = {_native_name(name): value for name, value in state.items() if not name.endswith("position_ids")}
    for name in ("visual.proj", "text_projection"):
        renamed[name] = renamed[name].T.contiguous()
    stems = {name.split(".self_attn.")[0] for name in renamed if ".self_attn.q_proj." in name}
    for stem in stems:
        for kind in ("weight", "bias"):
            parts = [renamed.pop(f"{stem}.self_attn.{letter}_proj.{kind}") for letter in "qkv"]
            renamed[f"{stem}.attn.in_proj_{kind}"] = torch.cat(parts)
    return renamed


def resize_positions(table: Tensor, grid: tuple[int, int], source: tuple[int, int] | None = None) -> Tensor:
    """(1 + h w, W) of `source`, else of the grid that fits, to (1 + rows columns, W): class row kept, grid bilinear. Source: IRRA."""
    rows, columns = source or grid_of(table)
    if rows * columns + 1 != len(table):
        raise ContractError(f"a position table of {len(table)} rows is no class row and a {rows}x{columns} grid")
    if (rows, columns) == grid:
        return table
    square = table[1:].T.reshape(1, -1, rows, columns)
    resized = F.interpolate(square, size=grid, mode="bilinear", align_corners=False)
    return torch.cat([table[:1], resized.flatten(2)[0].T])


def grid_of(table: Tensor) -> tuple[int, int]:
    """Rows and columns of a position table (1 + h w, W): a square, as in CLIP, or two or three times as high as wide, as in IRRA.

    No count fits two of these. Raises ContractError if none fits.
    """
    patches = len(table) - 1
    for ratio in (1, 3, 2):
        columns = isqrt(patches // ratio)
        if columns and ratio * columns**2 == patches:
            return ratio * columns, columns
    raise ContractError(
        f"a position table of {len(table)} rows is no class row and a grid; accepted: a square, or two or three times as high as wide"
    )


def fit(state: Mapping[str, Tensor], config: ClipConfig) -> dict[str, Tensor]:
    """The state for towers of `config`: position table resized, what is no tower's left out."""
    fitted = {name: value for name, value in state.items() if name not in NOT_OURS}
    name = "visual.positional_embedding"
    fitted[name] = resize_positions(fitted[name], config.grid)
    return fitted


def sized(config: ClipConfig, height: int, width: int) -> ClipConfig:
    """The same towers for pictures of another size."""
    return replace(config, height=height, width=width)


def count_layers(state: Mapping[str, Tensor], prefix: str) -> int:
    """Blocks of the tower whose names begin with `prefix`."""
    numbers = {int(match[1]) for name in state if (match := re.match(re.escape(prefix) + r"resblocks\.(\d+)\.", name))}
    return len(numbers)


def weight_file(source: Path) -> Path:
    """The file itself, or the one that a folder of weights holds. Raises ConfigError if there is none."""
    if source.is_file():
        return source
    for name in WEIGHT_NAMES:
        if (source / name).is_file():
            return source / name
    raise ConfigError(f"{source} is no weight file and holds none of {', '.join(WEIGHT_NAMES)}; give a CLIP file or folder")


def _native_name(name: str) -> str:
    for pattern, native in _HF_NAMES:
        if match := re.fullmatch(pattern, name):
            new = match.expand(native)
            for old, part in _HF_PARTS.items():
                new = new.replace(f".{old}.", f".{part}.")
            return new
    return name


def _hugging_face_config(folder: Path) -> ClipConfig:
    values = read_json(folder / "config.json")
    vision, text = values.get("vision_config", {}), values.get("text_config", {})
    defaults = {"hidden_act": "quick_gelu", "intermediate_size": None}

    def of(section: Mapping[str, Any], name: str, default: Any) -> Any:
        return section.get(name, defaults.get(name) or default)

    size = of(vision, "image_size", 224)
    acts = {of(section, "hidden_act", "quick_gelu") for section in (vision, text)}
    if len(acts) != 1 or not acts <= {"quick_gelu", "gelu"}:
        raise ContractError(f"{folder / 'config.json'}: hidden_act {sorted(acts)}; accepted: quick_gelu or gelu, the same in both towers")

    def tower(section: Mapping[str, Any], width: int, heads: int, hidden: int) -> TowerConfig:
        return TowerConfig(
            width=of(section, "hidden_size", width),
            layers=of(section, "num_hidden_layers", 12),
            heads=of(section, "num_attention_heads", heads),
            hidden=of(section, "intermediate_size", hidden),
        )

    return ClipConfig(
        height=size,
        width=size,
        patch=of(vision, "patch_size", 32),
        image=tower(vision, 768, 12, 3072),
        text=tower(text, 512, 8, 2048),
        embed_dim=values.get("projection_dim", 512),
        vocab_size=of(text, "vocab_size", 49408),
        context=of(text, "max_position_embeddings", 77),
        activation=acts.pop(),
    )


def _native_config(state: Mapping[str, Tensor], folder: Path) -> ClipConfig:
    """From shapes; head widths and activation, which shapes do not say, from open_clip_config.json, else OpenAI's."""
    facts = read_json(folder / "open_clip_config.json")["model_cfg"] if (folder / "open_clip_config.json").is_file() else None
    conv, positions = state["visual.conv1.weight"], state["visual.positional_embedding"]
    patch = conv.shape[-1]
    rows, columns = grid_of(positions)
    act: Activation = "quick_gelu" if facts is None or facts.get("quick_gelu") else "gelu"
    head = OPENAI_HEAD_WIDTH if facts is None else facts["vision_cfg"].get("head_width", OPENAI_HEAD_WIDTH)
    text_width = state["ln_final.weight"].shape[0]
    text_heads = text_width // OPENAI_HEAD_WIDTH if facts is None else facts["text_cfg"]["heads"]

    def tower(width: int, heads: int, prefix: str) -> TowerConfig:
        hidden = state[f"{prefix}resblocks.0.mlp.c_fc.weight"].shape[0]
        return TowerConfig(width=width, layers=count_layers(state, prefix), heads=max(1, heads), hidden=hidden)

    return ClipConfig(
        height=rows * patch,
        width=columns * patch,
        patch=patch,
        image=tower(conv.shape[0], conv.shape[0] // head, "visual.transformer."),
        text=tower(text_width, text_heads, "transformer."),
        embed_dim=state["text_projection"].shape[1],
        vocab_size=state["token_embedding.weight"].shape[0],
        context=state["positional_embedding"].shape[0],
        activation=act,
    )
