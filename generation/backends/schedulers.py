"""generate.scheduler -> a scheduler of diffusers for a checkpoint. A wrong one is an error of Python at best, wrong pictures at worst."""

import difflib
import importlib.util
import inspect
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.contracts.errors import ConfigError, first_line

# Of models that predict noise (or v) over 1000 steps. DPMSolverSDEScheduler is left out: it draws from global random numbers, for the
# whole batch at once, so that no picture could be made again from its seed.
_NOISE = frozenset(
    f"{name}Scheduler"
    for name in (
        *("DDIM", "DDIMParallel", "DDPM", "DDPMParallel", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete"),
        *("KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverMultistep", "DPMSolverSinglestep", "DEISMultistep", "UniPCMultistep"),
        *("SASolver", "LCM", "TCD"),
    )
)
# FlowMatchLCMScheduler is left out for the same reason: Flux and Qwen-Image pass it no generators.
_FLOW = frozenset({"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"})
_SOLVES_FLOW = frozenset(  # of _NOISE; those with a setting `use_flow_sigmas`
    f"{name}Scheduler" for name in ("DEISMultistep", "DPMSolverMultistep", "DPMSolverSinglestep", "SASolver", "UniPCMultistep")
)
_EDM = frozenset({"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"})


def check_scheduler(name: str) -> None:
    """Raises ConfigError with near names for one that diffusers does not have. Reads its table of names: importing it takes seconds."""
    names = _scheduler_names()
    if names and name not in names:
        near = difflib.get_close_matches(name, names, n=3) or ["DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "DDIMScheduler"]
        raise ConfigError(f"generate.scheduler={name!r} is no scheduler of diffusers; did you mean {', '.join(near)}?")


def check_family(name: str, own: str, settings: Mapping[str, Any]) -> None:
    """Raises ConfigError, with those that fit, for one that does not fit the checkpoint's own. settings: of its scheduler_config.json."""
    check_scheduler(name)
    accepted = _accepted(own, settings)
    if name not in accepted:
        raise ConfigError(f"generate.scheduler={name!r} is not for this model, whose own is {own}; accepted: {', '.join(accepted)}")


def make_scheduler(name: str, current: Any) -> Any:
    """The named scheduler with the settings of the checkpoint's own. Raises ConfigError where it does not take them."""
    import diffusers

    check_family(name, type(current).__name__, current.config)
    scheduler_class = getattr(diffusers, name)
    try:
        return scheduler_class.from_config(current.config, **_flow_settings(scheduler_class, current))
    except (ImportError, TypeError, ValueError, NotImplementedError) as err:
        raise ConfigError(f"generate.scheduler={name!r} cannot take the settings of {type(current).__name__} ({first_line(err)})") from err


def _accepted(own: str, settings: Mapping[str, Any]) -> list[str]:
    """Names of schedulers that solve the same equation as the checkpoint's own."""
    if _is_flow(own, settings):
        return sorted({own} | _FLOW | _SOLVES_FLOW)
    return sorted({own} | next((family for family in (_NOISE, _EDM) if own in family), frozenset()))


def _is_flow(own: str, settings: Mapping[str, Any]) -> bool:
    """Flow matching: by its class (Flux, Qwen-Image), or a solver that is told so (SANA)."""
    return own.startswith("FlowMatch") or bool(settings.get("use_flow_sigmas"))


def _flow_settings(scheduler_class: Any, current: Any) -> dict[str, Any]:
    """The two kinds of flow-matching schedulers call the same settings by other names, and solvers must be told what they solve."""
    if not _is_flow(type(current).__name__, current.config):
        return {}
    shift = current.config.get("flow_shift" if current.config.get("use_flow_sigmas") else "shift", 1.0)
    told = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift, "shift": shift}
    return {name: value for name, value in told.items() if name in _settings(scheduler_class)}


def _settings(scheduler_class: Any) -> Any:
    return inspect.signature(scheduler_class.__init__).parameters


@cache
def _scheduler_names() -> tuple[str, ...]:
    """Empty where diffusers is not installed: then nobody can say."""
    spec = importlib.util.find_spec("diffusers")
    if spec is None or spec.origin is None:
        return ()
    return tuple(sorted(set(re.findall(r'"(\w+Scheduler)"', Path(spec.origin).read_text(encoding="utf-8")))))
