"""Parameter groups and learning-rate schedules, as published.

Names decide: a parameter is not decayed if its name contains one of NO_DECAY. That spares relative position tables, and decays
`itm_head.1.weight` and `temp`, as in the research code.
"""

import re
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from pretrain.models.settings import AptmConfig
from pretrain.settings import AdamWConfig, OptimConfig

NO_DECAY = ("bias", *(f"{norm}.{part}" for norm in ("LayerNorm", "norm", "norm1", "norm2") for part in ("bias", "weight")))
Schedule = Literal["linear", "step"]
Boosted = Literal["cross_attention", "upper_layers", "nothing"]


def parameter_groups(model: nn.Module, model_config: AptmConfig, config: OptimConfig) -> list[dict[str, Any]]:
    """Four groups (decay or not) x (base or boosted learning rate) of what is trained, empty ones left out.

    Each has params, names, weight_decay, lr and base_lr; tied tensors appear once, under their first name.
    """
    is_boosted = boosted_names(config.boosted, model_config)
    members: dict[int, list[tuple[str, nn.Parameter]]] = {0: [], 1: [], 2: [], 3: []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        members[group_of(name, is_boosted)].append((name, parameter))
    groups = []
    for number, pairs in members.items():
        if pairs:
            lr = config.lr * (config.boost if number >= 2 else 1.0)
            decay = 0.0 if number % 2 else config.weight_decay
            groups.append({"params": [p for _, p in pairs], "names": [n for n, _ in pairs], "weight_decay": decay, "lr": lr, "base_lr": lr})
    return groups


def group_of(name: str, is_boosted: Callable[[str], bool]) -> int:
    """0 decay, 1 no decay, 2 decay and boosted, 3 no decay and boosted."""
    return 2 * is_boosted(name) + any(part in name for part in NO_DECAY)


def boosted_names(kind: Boosted, config: AptmConfig) -> Callable[[str], bool]:
    """Which parameter names learn at the boosted rate."""
    if kind == "nothing":
        return lambda name: False
    if kind == "cross_attention":
        return lambda name: ".crossattention." in name
    stages = config.vision.num_stages
    text = config.text
    layers = [n for end in (text.fusion_layer, text.num_layers) for n in (end - 2, end - 1)]
    prefixes = [
        *(rf"vision_encoder\.layers\.{stage}\." for stage in (stages - 2, stages - 1)),
        *(rf"text_encoder\.bert\.encoder\.layer\.{n}\." for n in layers),
        *(rf"{name}\." for name in (r"text_encoder\.cls", "vision_proj", "text_proj", "itm_head")),
    ]
    pattern = re.compile("|".join(prefixes))
    return lambda name: pattern.match(name) is not None


def build_optimizer(groups: list[dict[str, Any]], config: AdamWConfig) -> torch.optim.AdamW:
    """Of groups that have a learning rate and a decay of their own, as `parameter_groups` makes them."""
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def lr_factor(step: int, total_steps: int, warmup: float, schedule: Schedule) -> float:
    """Multiple of the learning rate at the 0-based `step`: 0 at step 0 of a warm-up, 0 again from total_steps on."""
    warm = int(warmup * total_steps) if warmup < 1 else int(warmup)
    if step < warm:
        return step / warm
    linear = max(0.0, (total_steps - step) / max(1, total_steps - warm))
    if schedule == "linear" or step < 4 * warm:
        return linear
    return linear * (0.5 if step < 7 * warm else 0.2)


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """The schedule keeps no state: each step sets what its number says."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
