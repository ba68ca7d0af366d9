"""A folder of golden numbers: what it holds, the model that its config describes, and one row per comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.contracts.errors import ContractError
from pipeline.fileio import read_json
from pretrain.masking import Masked
from pretrain.models.aptm import APTM
from pretrain.models.layout import KeyReport, load_published
from pretrain.models.settings import AptmConfig, TextConfig, VisionConfig
from pretrain.objective import Texts

TOLERANCE = 5e-5  # absolute; float32 and another order of summation give below 2e-5, the usual mistakes 2e-4 and more


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison. error: largest absolute difference, or the number of unequal items where things are compared exactly."""

    name: str
    error: float
    tolerance: float = TOLERANCE

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # NaN fails


class Fixture:
    """Reads the files of a parity folder when they are asked for."""

    def __init__(self, folder: Path) -> None:
        """Raises ContractError if the folder is no parity fixture."""
        self.folder = folder
        if not self.has("config.json") or not self.has("model.safetensors"):
            raise ContractError(f"{folder} holds no config.json and model.safetensors; give a folder of APTM golden numbers")
        self.config = read_json(folder / "config.json")
        if absent := {"vision", "text", "model"} - self.config.keys():
            raise ContractError(f"{folder}/config.json lacks {', '.join(sorted(absent))}; give a folder of APTM golden numbers")
        self.settings: dict[str, Any] = self.config["model"]

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def json(self, name: str) -> Any:
        return read_json(self.folder / name)

    def tensors(self, name: str) -> dict[str, Tensor]:
        return load_file(self.folder / name)

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return self.tensors("inputs.safetensors")

    @cached_property
    def choices(self) -> dict[str, Tensor]:
        return {name: torch.tensor(values) for name, values in self.json("losses.json")["choices"].items()}

    @cached_property
    def state(self) -> dict[str, Tensor]:
        return self.tensors("model.safetensors")

    @cached_property
    def loaded(self) -> tuple[APTM, KeyReport]:
        """The model of the config in eval mode with the fixture's weights."""
        model = APTM(self.model_config()).eval()
        return model, load_published(model, self.state, str(self.folder / "model.safetensors"))

    @property
    def model(self) -> APTM:
        return self.loaded[0]

    def model_config(self) -> AptmConfig:
        """The research code's names in ours."""
        vision, text = self.config["vision"], self.config["text"]
        return AptmConfig(
            vision=VisionConfig(
                height=vision["h"],
                width=vision["w"],
                embed_dim=vision["embed_dim"],
                depths=tuple(vision["depths"]),
                num_heads=tuple(vision["num_heads"]),
                window_size=vision["window_size"],
            ),
            text=TextConfig(
                vocab_size=text["vocab_size"],
                hidden_size=text["hidden_size"],
                intermediate_size=text["intermediate_size"],
                num_heads=text["num_attention_heads"],
                num_layers=text["num_hidden_layers"],
                fusion_layer=text["fusion_layer"],
                max_positions=text["max_position_embeddings"],
            ),
            embed_dim=self.settings["embed_dim"],
            temperature=self.settings["temp"],
        )

    def texts(self, name: str) -> Texts:
        """ "text", "attr" or "pa" with its masked copy."""
        inputs, prefix = self.inputs, "" if name == "text" else f"{name}_"
        masked = Masked(inputs[f"{name}_ids_masked"], inputs[f"{prefix}masked_pos"], inputs[f"{prefix}masked_ids"])
        return Texts(inputs[f"{name}_ids"], inputs[f"{name}_atts"], masked)

    def second_view(self) -> Texts:
        return Texts(self.inputs["text_ids_eda"], self.inputs["text_atts_eda"])


def close(name: str, ours: Tensor, golden: Tensor, tolerance: float = TOLERANCE) -> Check:
    """Compare tensors of one shape; another shape is an infinite error."""
    if ours.shape != golden.shape:
        return Check(f"{name} (shape {list(ours.shape)}, golden {list(golden.shape)})", float("inf"), tolerance)
    difference = (ours.detach().double() - golden.double()).abs()
    return Check(name, float(difference.max()) if difference.numel() else 0.0, tolerance)


def close_numbers(prefix: str, ours: Mapping[str, float], golden: Mapping[str, float], tolerance: float = TOLERANCE) -> list[Check]:
    """One check per golden number; a number that we lack fails."""
    return [Check(f"{prefix}{name}", abs(ours.get(name, float("nan")) - value), tolerance) for name, value in golden.items()]


def equal(name: str, ours: list[Any], golden: list[Any]) -> Check:
    """Exact comparison item by item."""
    unequal = sum(a != b for a, b in zip(ours, golden, strict=False)) + abs(len(ours) - len(golden))
    return Check(name, float(unequal), 0.0)
