"""generate.attention -> how the denoiser computes it. diffusers passes over what knows no backends, or no slices, in silence."""

import importlib.util
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.contracts.errors import ConfigError, first_line


def check_attention(backend: str, denoiser: str, *, sliceable: bool = True, has_backends: bool = True) -> None:
    """denoiser: name of its class. sliceable, has_backends: what it takes. Raises ConfigError. Reads diffusers' table of backends only."""
    if backend in ("auto", "native") or (backend == "sliced" and sliceable):  # native is torch's own, which all others compute by
        return
    accepted = f"accepted with {denoiser}: {_accepted(sliceable, has_backends)}"
    if backend == "sliced" or not has_backends:
        raise ConfigError(f"generate.attention={backend!r} has no effect on {denoiser}; {accepted}")
    names = _backend_names()
    if names and backend.lower() not in names:
        raise ConfigError(f"generate.attention={backend!r} is no backend of diffusers ({', '.join(names)}); {accepted}")


def check_attention_of_parts(backend: str, classes: Mapping[str, str]) -> None:
    """The same as far as it can be known before anything is loaded. classes: of the pipeline's parts, by the parts' names."""
    if classes.get("unet") == "UNet2DConditionModel":
        check_attention(backend, "UNet2DConditionModel", has_backends=False)
    elif "transformer" in classes:
        check_attention(backend, classes["transformer"], sliceable=False)
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
            raise ConfigError(f"generate.attention={backend!r}: {first_line(err)[:300]}; accepted with this model: {accepted}") from err


def _accepted(sliceable: bool, has_backends: bool) -> str:
    return ", ".join(["auto", "native", *["sliced"] * sliceable, *["a backend of diffusers"] * has_backends])


def _has_backends(denoiser: Any) -> bool:
    return any(hasattr(getattr(module, "processor", None), "_attention_backend") for module in denoiser.modules())


@cache
def _backend_names() -> tuple[str, ...]:
    """Empty where diffusers is not installed, or too old to have any: then nobody can say."""
    spec = importlib.util.find_spec("diffusers")
    table = Path(spec.origin).parent / "models" / "attention_dispatch.py" if spec and spec.origin else None
    if table is None or not table.is_file():
        return ()
    _, _, rest = table.read_text(encoding="utf-8").partition("class AttentionBackendName")
    return tuple(re.findall(r'^    \w+ = "(\w+)"$', rest.partition("\nclass ")[0], re.MULTILINE))
