"""generate.attention -> how the denoiser computes it. diffusers passes over what knows no backends, or no slices, in silence."""

import importlib.util
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.contracts.errors import ConfigError, first_line

_ANYWHERE = ("auto", "native")  # native is torch's own, which all others compute by


def check_attention(backend: str, denoiser: str, *, sliceable: bool = True, has_backends: bool = True) -> None:
    """denoiser: name of its class. sliceable, has_backends: what it takes. Raises ConfigError. Reads diffusers' table of backends only."""
    if backend in _ANYWHERE or (backend == "sliced" and sliceable):
        return
    accepted = f"accepted with {denoiser}: {_accepted(sliceable, has_backends)}"
    if backend == "sliced" or not has_backends:
        raise ConfigError(f"generate.attention={backend!r} has no effect on {denoiser}; {accepted}")
    names = _backend_names()
    if names and backend.lower() not in names:
        raise ConfigError(f"generate.attention={backend!r} is no backend of diffusers ({', '.join(names)}); {accepted}")


def check_attention_of_parts(backend: str, classes: Mapping[str, str]) -> None:
    """The same as far as it can be known before anything is loaded. classes: of the pipeline's parts, by the parts' names."""
    if backend in _ANYWHERE:
        return
    if classes.get("unet") == "UNet2DConditionModel":
        check_attention(backend, "UNet2DConditionModel", has_backends=False)
    elif "transformer" in classes:
        check_attention(backend, classes["transformer"], sliceable=False, has_backends=_may_have_backends(classes["transformer"]))
    else:
        check_attention(backend, "this model")


def set_attention(pipeline: Any, denoiser: Any, backend: str) -> None:
    """Raises ConfigError for what this denoiser, or this machine, does not have."""
    sliceable, has_backends = hasattr(denoiser, "set_attention_slice"), _has_backends(denoiser)
    check_attention(backend, type(denoiser).__name__, sliceable=sliceable, has_backends=has_backends)
    if backend == "sliced":
        pipeline.enable_attention_slicing()
    elif backend != "auto" and has_backends:
        try:
            denoiser.set_attention_backend(backend)
        except (ValueError, RuntimeError, ImportError, AttributeError, NotImplementedError) as err:
            accepted = _accepted(sliceable, has_backends)
            raise ConfigError(f"generate.attention={backend!r}: {first_line(err)}; accepted with this model: {accepted}") from err


def _accepted(sliceable: bool, has_backends: bool) -> str:
    return ", ".join(["auto", "native", *["sliced"] * sliceable, *["a backend of diffusers"] * has_backends])


def _has_backends(denoiser: Any) -> bool:
    return any(hasattr(getattr(module, "processor", None), "_attention_backend") for module in denoiser.modules())


def _may_have_backends(transformer: str) -> bool:
    """Whether the class's module of diffusers, or one beside it whose attention it takes, knows backends; True if there is none."""
    modules = _modules("transformers/*.py")
    own = next((text for text in modules.values() if f"\nclass {transformer}(" in text), None)
    if own is None:
        return True
    beside = [modules.get(name, "") for name in re.findall(r"^from \.(\w+) import", own, re.MULTILINE)]
    return any("_attention_backend" in text for text in (own, *beside))


@cache
def _backend_names() -> tuple[str, ...]:
    """Empty where diffusers is not installed, or too old to have any: then nobody can say."""
    _, _, rest = _modules("attention_dispatch.py").get("attention_dispatch", "").partition("class AttentionBackendName")
    return tuple(re.findall(r'^    \w+ = "(\w+)"$', rest.partition("\nclass ")[0], re.MULTILINE))


def _modules(pattern: str) -> dict[str, str]:
    """Name -> source of those below diffusers.models, as text: importing them takes seconds. None where diffusers is not installed."""
    spec = importlib.util.find_spec("diffusers")
    files = (Path(spec.origin).parent / "models").glob(pattern) if spec and spec.origin else ()
    return {path.stem: path.read_text(encoding="utf-8") for path in files}
