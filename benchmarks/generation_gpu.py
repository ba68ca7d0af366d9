"""How fast one GPU draws and captions: `python benchmarks/generation_gpu.py`. Needs an NVIDIA GPU with 16 GB, no checkpoint, no network.

Speed does not depend on what weights are, so they are random, in the real architectures and through the very code that a run uses:

- Stable Diffusion 1.5 (860 M UNet, 84 M VAE, 123 M text encoder) at 512x256, bf16: 30 steps with guidance, 4 steps without (as distilled
  models are used), eager and compiled, over batch sizes;
- the pose pool (MediaPipe on CPU cores) alone, and beside the GPU at its best batch: what both make together is what a fused run makes;
- BLIP base captions of 20 tokens of 384x384 pictures, over batch sizes.

`--device cpu --smoke` runs every line of it at toy sizes in a minute: its figures mean nothing.
"""

import argparse
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from generation.backends.blip import BlipCaptioner
from generation.backends.diffusion import DiffusionModel
from generation.backends.pose_bundle import pose_model
from generation.backends.pose_pool import PosePool
from generation.config import EMBEDDED_WEIGHTS, CaptionConfig, GenerateConfig
from generation.embedded.render.person import sample_person
from generation.embedded.render.scene import render_person
from generation.images import Image, resize
from pipeline.machine import num_cpus

PROMPT = "a full body photo of a woman with long black hair in a red jacket, blue jeans and white shoes, walking on a street"


@dataclass(frozen=True)
class Size:
    """What is built and measured. blocks: UNet channels; text, blip: (width, layers)."""

    blocks: tuple[int, ...]
    vae: tuple[int, ...]
    text: tuple[int, int]
    blip: tuple[int, int, int]  # width, layers, px
    height: int
    width: int
    steps: tuple[tuple[int, float], ...]  # (steps, guidance)
    batches: tuple[int, ...]
    caption_tokens: int
    num_poses: int


REAL = Size(
    blocks=(320, 640, 1280, 1280),
    vae=(128, 256, 512, 512),
    text=(768, 12),
    blip=(768, 12, 384),
    height=512,
    width=256,
    steps=((30, 7.5), (4, 1.0)),
    batches=(4, 8, 16, 32, 64, 128),
    caption_tokens=20,
    num_poses=256,
)
SMOKE = Size(
    blocks=(32, 32, 32, 32),
    vae=(32, 32, 32, 32),
    text=(32, 1),
    blip=(32, 1, 64),
    height=128,
    width=128,
    steps=((2, 7.5), (1, 1.0)),
    batches=(1, 2),
    caption_tokens=4,
    num_poses=4,
)


def save_diffusion(folder: Path, size: Size, dtype: Any) -> Path:
    """A StableDiffusionPipeline folder with random weights; the tokenizer is the embedded model's."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    width, layers = size.text
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_WEIGHTS / "diffusion" / "tokenizer")
    tokenizer.model_max_length = 77
    heads = max(width // 64, 1)
    text = CLIPTextConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads, max_position_embeddings=77
    )
    vae = AutoencoderKL(
        block_out_channels=size.vae,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        unet=UNet2DConditionModel(sample_size=64, block_out_channels=size.blocks, cross_attention_dim=width, attention_head_dim=8),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype).save_pretrained(folder)
    return folder


def save_blip(folder: Path, size: Size) -> Path:
    """A BLIP captioner with random weights; tokenizer and image processor are the embedded model's, at the real size."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipProcessor

    width, layers, px = size.blip
    shared = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, "num_attention_heads": max(width // 64, 1)}
    config = BlipConfig(
        text_config={**shared, "encoder_hidden_size": width, "vocab_size": 30524},
        vision_config={**shared, "image_size": px, "patch_size": 16},
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    processor = BlipProcessor.from_pretrained(EMBEDDED_WEIGHTS / "captioner")
    processor.image_processor.size = {"height": px, "width": px}
    processor.save_pretrained(folder)
    return folder


def rate(work: Callable[[], Any], images: int, min_s: float) -> float:
    """Images a second, after one call that does not count (compilation, autotuning); results are on the host when a call returns."""
    work()
    calls, started = 0, time.perf_counter()
    while calls < 2 or time.perf_counter() - started < min_s:
        work()
        calls += 1
    return calls * images / (time.perf_counter() - started)


class Drawer:
    """One batch at a time. `fits` is False once memory has run out and the model works in halves."""

    def __init__(self, config: GenerateConfig, batch: int) -> None:
        self._model, self._batch = DiffusionModel(replace(config, batch_size=batch)), batch

    def __call__(self) -> None:
        self._model.generate([PROMPT] * self._batch, list(range(self._batch)))

    @property
    def fits(self) -> bool:
        return self._model.batch_size == self._batch


def peak_gib() -> str:
    import torch

    if not torch.cuda.is_available():
        return "-"
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return f"{peak:.1f} GiB"


def measure_drawing(base: GenerateConfig, size: Size, compiles: Sequence[bool], min_s: float) -> tuple[GenerateConfig, int, float]:
    """Prints the sweep; the eager setting, batch and images/s that were fastest at the fewest steps."""
    import torch

    best = (base, 1, 0.0)
    for steps, guidance in size.steps:
        for compiled in compiles:
            for batch in size.batches:
                config = replace(base, steps=steps, guidance=guidance, compile=compiled)
                draw = Drawer(config, batch)
                speed = rate(draw, batch, min_s)
                if not draw.fits:
                    print(f"draw  {steps:3d} steps, batch {batch:4d}: does not fit into memory", flush=True)
                    break
                name = "compiled" if compiled else "eager"
                how = f"{steps:3d} steps, guidance {guidance:g}, {base.dtype}, {name:<8}"
                print(f"draw  {how} batch {batch:4d}: {speed:8.2f} images/s   peak {peak_gib()}", flush=True)
                if steps == size.steps[-1][0] and not compiled and speed > best[2]:
                    best = (config, batch, speed)
        torch.compiler.reset()
    return best


def measure_poses(pool: PosePool, people: Sequence[Image], stop: threading.Event | None = None) -> float:
    """Pictures a second through the pool, over all of `people` once, or again and again until `stop`."""
    count, started = 0, time.perf_counter()
    while count == 0 or (stop is not None and not stop.is_set()):
        count += len(pool.detect_all(people))
    return count / (time.perf_counter() - started)


def measure_both(pool: PosePool, people: Sequence[Image], best: tuple[GenerateConfig, int, float], min_s: float) -> None:
    config, batch, alone = best
    pool.warm_up()
    poses = measure_poses(pool, people)
    print(f"pose  {num_cpus()} processes, alone: {poses:8.2f} images/s", flush=True)
    stop, beside = threading.Event(), list[float]()
    thread = threading.Thread(target=lambda: beside.append(measure_poses(pool, people, stop)))
    draw = Drawer(config, batch)
    draw()
    thread.start()
    speed = rate(draw, batch, min_s)
    stop.set()
    thread.join()
    print(f"both  draw {speed:8.2f} images/s ({speed / alone:.0%} of alone) beside pose {beside[0]:8.2f} images/s", flush=True)


def measure_captions(folder: Path, size: Size, device: str, dtype: str, people: Sequence[Image], min_s: float) -> None:
    for batch in size.batches:
        tokens = size.caption_tokens  # random weights end a sentence by chance: the length is fixed
        config = CaptionConfig(
            model=str(folder), device=device, dtype=dtype, batch_size=batch, min_new_tokens=tokens, max_new_tokens=tokens
        )
        model = BlipCaptioner(config, str(folder))
        images = [people[i % len(people)] for i in range(batch)]
        speed = rate(partial(model.describe, images), batch, min_s)
        print(f"BLIP  {tokens} tokens, {dtype}, batch {batch:4d}: {speed:8.2f} images/s   peak {peak_gib()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--smoke", action="store_true", help="Toy sizes: is the script sound?")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--seconds", type=float, default=10.0, help="Of each measurement, at least.")
    given = parser.parse_args()
    import torch

    size, min_s = (SMOKE, 0.0) if given.smoke else (REAL, given.seconds)
    name = torch.cuda.get_device_name() if given.device.startswith("cuda") and torch.cuda.is_available() else platform.processor() or "CPU"
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "diffusers", "transformers", "mediapipe"))
    print(f"{name}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}{'; SMOKE: no figures' if given.smoke else ''}")
    drawn = (render_person(sample_person(rng), rng).image for rng in map(np.random.default_rng, range(size.num_poses)))
    people = [resize(image, size.height, size.width) for image in drawn]
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_diffusion(Path(temporary) / "diffusion", size, getattr(torch, given.dtype))
        base = GenerateConfig(
            model=str(folder), device=given.device, dtype=given.dtype, height=size.height, width=size.width, channels_last=not given.smoke
        )
        best = measure_drawing(base, size, (False,) if given.no_compile else (False, True), min_s)
        pool = PosePool(pose_model("embedded"), num_cpus())
        try:
            measure_both(pool, people, best, min_s)
        finally:
            pool.close()
        measure_captions(save_blip(Path(temporary) / "blip", size), size, given.device, given.dtype, people, min_s)


if __name__ == "__main__":
    main()
