"""The training loop that the embedded models share: seeded by step, resumable, averaged weights, one line of log every few seconds."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipeline.contracts.errors import StageError
from pipeline.fileio import atomic_open

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def has_native_bfloat16() -> bool:
    """False where the processor only emulates it: there bfloat16 is three times slower than float32, elsewhere twice as fast."""
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Warm-up, constant learning rate, linear decay to zero over the last `decay_share` of the steps."""

    steps: int
    lr: float
    warmup: int = 100
    decay_share: float = 0.3
    ema: float = 0.999
    weight_decay: float = 0.01
    save_every: int = 50

    def lr_factor(self, step: int) -> float:
        decay_steps = max(1, int(self.steps * self.decay_share))
        return min(1.0, (step + 1) / self.warmup, (self.steps - step) / decay_steps)


def train(name: str, folder: Path, model: AnyModule, config: LoopConfig, loss_of: Callable[[int], Tensor]) -> AnyModule:
    """Minimise loss_of(step) over `config.steps` steps and return `model` holding the averaged weights.

    loss_of must draw its batch and noise from the step number alone; then a run that was interrupted equals one that was not.
    The state lies in folder/NAME.pt (opened with weights_only), the log in folder/NAME.jsonl. Raises StageError on a non-finite loss.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, betas=(0.9, 0.98), weight_decay=config.weight_decay)
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    state_path, log_path = folder / f"{name}.pt", folder / f"{name}.jsonl"
    start = _restore(state_path, model, optimizer, average)
    began = time.monotonic()
    recent: list[float] = []
    for step in range(start, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * config.lr_factor(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_native_bfloat16()):
            loss = loss_of(step)
        if not torch.isfinite(loss):
            raise StageError(f"{name}: loss is {loss.item()} at step {step}; the last state is {state_path}")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _update_average(average, model, min(config.ema, (step + 1) / (step + 10)))
        recent.append(loss.item())
        if (step + 1) % 20 == 0 or step + 1 == config.steps:
            rate = (step + 1 - start) / (time.monotonic() - began)
            line = {"step": step + 1, "of": config.steps, "loss": round(sum(recent) / len(recent), 5), "steps_per_s": round(rate, 3)}
            print(name, json.dumps(line), flush=True)
            with open(log_path, "a") as log:
                log.write(json.dumps(line) + "\n")
            recent = []
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            _save(state_path, model, optimizer, average, step + 1)
    model.load_state_dict(average)
    return model.eval()


def _update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor], step: int) -> None:
    with atomic_open(path) as file:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average, "step": step}, file)


def _restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    for key, value in state["average"].items():
        average[key].copy_(value)
    return int(state["step"])
