"""generate.guidance and generate.negative_prompt -> arguments of a pipeline's call. Families read them by other names, or not at all."""

import inspect
import logging
from typing import Any

from generation.config import GenerateConfig
from pipeline.contracts.errors import ConfigError

log = logging.getLogger(__name__)


def guidance_arguments(pipeline: Any, config: GenerateConfig) -> dict[str, Any]:
    """What the pipeline reads of guidance_scale, true_cfg_scale and negative_prompt (of one picture).

    No negative prompt leaves the family its own: SDXL takes zeros for it, not the encoding of an empty text. Raises ConfigError for a
    negative prompt that nothing would read; warns of guidance that nothing reads, as it has a default.
    """
    accepted = inspect.signature(pipeline.__call__).parameters
    negative = config.negative_prompt or None
    if "true_cfg_scale" not in accepted:
        wanted = {"guidance_scale": config.guidance, "negative_prompt": None if _is_distilled_unet(pipeline) else negative}
    elif _embeds_guidance(pipeline):  # Flux-dev: one pass, told how strongly to guide; it was never taught negative prompts
        wanted = {"guidance_scale": config.guidance}
    else:
        wanted = _two_passes(config, negative, made_for_it=_optional(accepted.get("guidance_scale")))
    arguments = {name: value for name, value in wanted.items() if name in accepted and value is not None}
    if negative and "negative_prompt" not in arguments:
        raise ConfigError(
            f"generate.negative_prompt={negative!r}: {type(pipeline).__name__} with these weights reads none; accepted: an empty one"
        )
    if guidance_of(arguments) is None:
        log.warning("%s with these weights reads no generate.guidance", type(pipeline).__name__)
    return arguments


def guidance_of(arguments: dict[str, Any]) -> float | None:
    """The scale that has an effect on the picture."""
    scale: float | None = arguments.get("guidance_scale", arguments.get("true_cfg_scale"))
    return scale


def _two_passes(config: GenerateConfig, negative: str | None, made_for_it: bool) -> dict[str, Any]:
    """Classifier-free guidance, which these families compute only where there is a negative prompt. Qwen-Image is made for it, with a
    blank where nothing is to be avoided; Flux-schnell is made to draw without."""
    if made_for_it:
        return {"true_cfg_scale": config.guidance, "negative_prompt": (negative or " ") if config.guidance > 1 else None}
    return {"true_cfg_scale": config.guidance, "negative_prompt": negative} if negative else {}


def _optional(parameter: inspect.Parameter | None) -> bool:
    return parameter is None or parameter.default is None


def _embeds_guidance(pipeline: Any) -> bool:
    config = getattr(getattr(pipeline, "transformer", None), "config", None)
    return bool(getattr(config, "guidance_embeds", False))


def _is_distilled_unet(pipeline: Any) -> bool:
    """Of a latent consistency model: it is told how strongly to guide and makes one pass."""
    config = getattr(getattr(pipeline, "unet", None), "config", None)
    return getattr(config, "time_cond_proj_dim", None) is not None
