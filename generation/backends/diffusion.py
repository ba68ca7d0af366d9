"""Prompts -> pictures by any text-to-image pipeline of diffusers. The only importer of diffusers outside the trainings.

The embedded model, a local folder and a name on the hub take the same path: a name is downloaded to its cache folder first.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from generation.backends.batching import BatchSize, in_batches
from generation.backends.device import likes_channels_last, resolve_device, resolve_dtype
from generation.backends.guidance import guidance_arguments, guidance_of
from generation.backends.model_files import model_name
from generation.backends.overflow import OverflowCount
from generation.backends.pipeline_files import PipelineFiles
from generation.backends.pipeline_options import add_lora, num_tokens_cut, tune
from generation.backends.quiet import silence_diffusers
from generation.backends.schedulers import make_scheduler
from generation.config import GenerateConfig
from generation.images import Image
from pipeline.collector import paused
from pipeline.contracts.errors import ConfigError, first_line
from pipeline.machine import num_cpus

log = logging.getLogger(__name__)
_TEXTS = ("prefix", "suffix", "negative_prompt")  # beside the prompt: what was drawn is not what the sample's prompt says alone
_REFUSALS = (ValueError,)  # of a pipeline: sizes that are no multiple of what the family wants
_REFUSALS_OF_SCHEDULERS = (TypeError, AssertionError)  # Flux gives times that solvers of its kind, but of another family, do not take


@dataclass(frozen=True, slots=True)
class Picture:
    """(H, W, 3) uint8 RGB, whether the checkpoint's own checker takes it for unsafe (and has blanked it), and why it is none at all.

    batch: place among the pictures that were drawn at once, their count, and the size that batches then had (a compiled model fills them
    up): in another batch the picture differs by rounding.
    """

    image: Image
    batch: dict[str, int]
    unsafe: bool = False
    not_finite: str | None = None  # black where the model computed no number


class DiffusionModel:
    """A loaded pipeline. `provenance` says what made a picture: model, weights_sha256, scheduler, steps, guidance, dtype; where set, LoRA,
    prefix, suffix, negative_prompt."""

    def __init__(self, config: GenerateConfig) -> None:
        _import_libraries()
        self._config = config
        self._device = resolve_device(config.device, "generate.device")
        files = PipelineFiles(config)
        dtype = resolve_dtype(config.dtype, self._device, made_for_bfloat16=files.has_transformer())
        self._pipeline = files.load(dtype)
        if config.scheduler is not None:
            self._pipeline.scheduler = make_scheduler(config.scheduler, self._pipeline.scheduler)
        lora = add_lora(self._pipeline, config)
        self._pipeline.to(self._device)
        self._pipeline.set_progress_bar_config(disable=True)
        tune(self._pipeline, config, likes_channels_last(self._device, dtype) if config.channels_last is None else config.channels_last)
        self._refusals = _REFUSALS if config.scheduler is None else (*_REFUSALS, *_REFUSALS_OF_SCHEDULERS)
        self._guidance = guidance_arguments(self._pipeline, config)
        self._batch = BatchSize(config.batch_size)
        self._has_warned = False
        self._vae_dtype = getattr(getattr(self._pipeline, "vae", None), "dtype", None)
        dtype_name = str(dtype).removeprefix("torch.")
        self._overflow = OverflowCount(dtype_name)
        self.provenance: dict[str, Any] = {
            "model": model_name(config.model),
            **files.provenance,
            "pipeline": type(self._pipeline).__name__,
            "scheduler": type(self._pipeline.scheduler).__name__,
            "steps": config.steps,
            "guidance": guidance_of(self._guidance),
            "dtype": dtype_name,
            **lora,
            **{name: value for name in _TEXTS if (value := getattr(config, name))},
        }

    @property
    def batch_size(self) -> int:
        """What the next batch may hold: less than configured once memory has run out."""
        return self._batch.size

    def replica(self) -> "DiffusionModel":
        """A model for another thread: the same weights, its own scheduler, tokenizers and batch size, which change while it works."""
        other = copy.copy(self)
        other._pipeline = copy.copy(self._pipeline)
        other._batch, other._overflow = copy.copy(self._batch), copy.copy(self._overflow)
        for name, part in self._pipeline.components.items():
            if part is not None and not hasattr(part, "parameters"):
                other._pipeline.register_modules(**{name: copy.deepcopy(part)})
        return other

    def max_replicas(self) -> int:
        """Threads that it pays to run models in, the first included: one a core for a plain model on a CPU, one otherwise.

        In float16 some families cast the VAE while they decode, which replicas share.
        """
        import torch

        if self._device.type != "cpu" or self._config.compile or self._config.batch_size == 0 or self._vae_dtype == torch.float16:
            return 1
        return max(1, num_cpus() // torch.get_num_threads())

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Picture]:
        """One picture per prompt.

        Every picture has its own generator, made on the CPU from its seed, so that it does not depend on its neighbours in the batch,
        on order, or on the device's random numbers; a batch of another size changes it by rounding only. When memory runs out, the
        batch is halved from then on. Raises StageError if even one picture does not fit, ConfigError if the pipeline refuses the settings
        or makes little but pictures that are not finite.
        """
        way_out = "memory does not hold one picture: choose a smaller generate.height and width, or generate.dtype"
        return in_batches(self._batch, len(prompts), lambda a, b: self._run(prompts[a:b], seeds[a:b]), way_out)

    def _run(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Picture]:
        import torch

        count = len(prompts)
        if self._config.compile:  # a compiled model is made for one size; what is added is thrown away
            missing = self._batch.size - count
            prompts, seeds = [*prompts, *[prompts[-1]] * missing], [*seeds, *[seeds[-1]] * missing]
        self._warn_of_cut(prompts)
        self._restore_vae()
        wanted = self._arguments(prompts, [torch.Generator("cpu").manual_seed(seed) for seed in seeds])
        try:
            with torch.inference_mode():
                made = self._pipeline(**{name: value for name, value in wanted.items() if value is not None})
        except self._refusals as err:
            with_scheduler = f" with generate.scheduler={self._config.scheduler!r}" if self._config.scheduler else ""
            raise ConfigError(f"generate.model={self._config.model!r} refuses these settings{with_scheduler}: {first_line(err)}") from err
        unsafe = getattr(made, "nsfw_content_detected", None) or [False] * len(made.images)
        batches = ({"place": place, "count": count, "size": self._batch.size} for place in range(count))
        drawn = zip(made.images[:count], batches, unsafe[:count], strict=True)
        pictures = [self._picture(array, batch, bool(flag)) for array, batch, flag in drawn]
        self._overflow.add([picture.not_finite is None for picture in pictures])
        return pictures

    def _picture(self, array: np.ndarray, batch: dict[str, int], unsafe: bool) -> Picture:
        """array: (H, W, 3) float, 0 to 1."""
        if not np.isfinite(array).all():
            return Picture(np.zeros(array.shape, np.uint8), batch, unsafe, self._overflow.detail)
        return Picture(np.round(array * 255).astype(np.uint8), batch, unsafe)

    def _restore_vae(self) -> None:
        """SDXL and its kin decode a float16 VAE in float32 and cast it back only when that has succeeded."""
        if self._vae_dtype is not None and self._pipeline.vae.dtype != self._vae_dtype:
            self._pipeline.vae.to(self._vae_dtype)

    def _warn_of_cut(self, prompts: Sequence[str]) -> None:
        """Once: diffusers cuts in silence here, and the picture then lacks what the caption's end says."""
        if self._has_warned:
            return
        for prompt in prompts:
            text = self._config.prefix + prompt + self._config.suffix
            if cut := num_tokens_cut(self._pipeline, text):
                self._has_warned = True
                log.warning(
                    "the last %d tokens of %r are more than %s reads; longer prompts are cut (said once)", cut, text, self._config.model
                )
                return

    def _arguments(self, prompts: Sequence[str], generators: list[Any]) -> dict[str, Any]:
        config = self._config
        guidance = self._guidance
        if "negative_prompt" in guidance:
            guidance = {**guidance, "negative_prompt": [guidance["negative_prompt"]] * len(prompts)}
        return {
            "prompt": [config.prefix + prompt + config.suffix for prompt in prompts],
            **guidance,
            "num_inference_steps": config.steps,
            "generator": generators,
            "height": config.height,
            "width": config.width,
            "output_type": "np",
        }


def _import_libraries() -> None:
    """Seconds of every start are imports, of which the collector took a seventh."""
    with paused():
        silence_diffusers()
        from diffusers import DiffusionPipeline  # noqa: F401 -- loaded, not used
