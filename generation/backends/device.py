"""Where a model runs and in which number format. Refuses what this machine does not have before any weights are read."""

from typing import TYPE_CHECKING

from pipeline.contracts.errors import ConfigError

if TYPE_CHECKING:
    import torch


def resolve_device(configured: str, field: str) -> "torch.device":
    """auto -> cuda, else mps, else cpu. Raises ConfigError naming `field` for a device that is not there."""
    import torch

    if configured == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(configured)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        build = f"this torch is {torch.__version__}" + ("" if torch.version.cuda else ", built without CUDA")
        raise ConfigError(
            f"{field}={configured!r}, but {torch.cuda.device_count()} CUDA devices are visible ({build}); accepted here: auto, cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"{field}={configured!r}, but this machine has no Metal device; accepted here: auto, cpu")
    return device


def resolve_dtype(configured: str, device: "torch.device", *, made_for_bfloat16: bool = False) -> "torch.dtype":
    """auto -> float32 on the CPU (where half precision is emulated and slow); elsewhere float16, or bfloat16 for a model made for it
    where the device has it: beyond float16's range such models compute black pictures."""
    import torch

    if configured == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if made_for_bfloat16 and _has_bfloat16(device) else torch.float16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[configured]


def _has_bfloat16(device: "torch.device") -> bool:
    """In hardware: NVIDIA since Ampere, AMD, Metal since macOS 14."""
    import torch

    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def likes_channels_last(device: "torch.device", dtype: "torch.dtype") -> bool:
    """Whether convolutions are faster in that layout: oneDNN's on a CPU, tensor cores in half precision. (On MPS some are wrong in it.)"""
    return device.type == "cpu" or (device.type == "cuda" and dtype.itemsize == 2)
