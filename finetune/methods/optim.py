"""Parameter groups of the CLIP and BLIP recipes, Adam with L2 on top of AdamW, and their schedules."""

import re
from collections.abc import Callable, Iterable
from math import cos, pi
from typing import Any

from torch import Tensor, nn

from finetune.models.irra import irra_epoch_factor, irra_lr_group
from finetune.recipes import AdamConfig, EpochAdamConfig, IrraAdamConfig

_BLOCK = re.compile(r"(.*(?:resblocks|layers|layer))\.(\d+)\.")
_FIRST = ("conv1", "class_embedding", "positional_embedding", "token_embedding", "ln_pre.", "embeddings.")


Rule = Callable[[str, nn.Parameter, AdamConfig], tuple[float, float]]
"""(learning rate, weight decay) of a parameter."""


def alike(name: str, parameter: nn.Parameter, config: AdamConfig) -> tuple[float, float]:
    """BLIP's: all parameters the same."""
    return config.lr, config.weight_decay


def as_irra(name: str, parameter: nn.Parameter, config: AdamConfig) -> tuple[float, float]:
    """Cross-former, classifiers and biases are told by their names."""
    assert isinstance(config, IrraAdamConfig)
    return irra_lr_group(name, config.lr, config.weight_decay, config.cross_factor, config.bias_factor)


def as_open_clip(name: str, parameter: nn.Parameter, config: AdamConfig) -> tuple[float, float]:
    """Vectors and scalars (biases, LayerNorms, class token, temperature) are not decayed."""
    return config.lr, config.weight_decay if parameter.ndim > 1 else 0.0


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]], config: AdamConfig, rule: Rule) -> list[dict[str, Any]]:
    """One group per (learning rate, decay), of what is trained.

    With coupled decay the decay is added to the gradient (Adam with L2, as torch.optim.Adam does it) by a hook, and the group's own is 0:
    the engine builds AdamW, whose decay is decoupled. The hook sits on the leaf, so it acts before gradients are averaged over ranks.
    """
    pairs = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    depth = _depth_factor([name for name, _ in pairs], config.layer_decay)
    members: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in pairs:
        lr, decay = rule(name, parameter, config)
        if config.coupled_decay and decay:
            parameter.register_hook(_l2(parameter, decay))
            decay = 0.0
        members.setdefault((lr * depth(name), decay), []).append((name, parameter))
    return [
        {"params": [p for _, p in group], "names": [n for n, _ in group], "weight_decay": decay, "lr": lr, "base_lr": lr}
        for (lr, decay), group in members.items()
    ]


def freeze(model: nn.Module, is_unused: Callable[[str], bool]) -> None:
    """Parameters that no term reaches. Ranks would wait for their gradients, and a continuation for a state that they never get."""
    for name, parameter in model.named_parameters():
        if is_unused(name):
            parameter.requires_grad_(False)


def epoch_factor(step: int, steps_per_epoch: float, num_steps: int, config: EpochAdamConfig) -> float:
    """IRRA's schedule: a constant factor within an epoch, a warm-up of `warmup_epochs`, then a cosine to 0 behind the last step's epoch."""
    if config.warmup_steps:
        return cosine_factor(step, num_steps, config.warmup_steps)
    epoch, last = (int(number / steps_per_epoch) + 1 for number in (step, num_steps - 1))
    return irra_epoch_factor(epoch, last, round(config.warmup_epochs), config.warmup_start)


def cosine_factor(step: int, num_steps: int, warmup: int) -> float:
    """open_clip's: linear from 0 over `warmup` steps, then a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + cos(pi * (step - warmup) / max(1, num_steps - warmup)))


def _l2(parameter: nn.Parameter, decay: float) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient.add(parameter.detach().to(gradient.dtype), alpha=decay)


def _depth_factor(names: list[str], decay: float) -> Callable[[str], float]:
    """decay ** (blocks above), counted in the tower of the name; what stands before the first block counts as one block below it."""
    if decay == 1.0:
        return lambda name: 1.0
    tops: dict[str, int] = {}
    for name in names:
        if match := _BLOCK.match(name):
            tops[match[1]] = max(tops.get(match[1], 0), int(match[2]) + 1)
    deepest = max(tops.values(), default=0)

    def factor(name: str) -> float:
        if match := _BLOCK.match(name):
            return decay ** (tops[match[1]] - int(match[2]) - 1)
        return decay**deepest if any(part in name for part in _FIRST) else 1.0

    return factor
