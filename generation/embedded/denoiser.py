"""The UNet of the embedded diffusion model: v-prediction on whitened 16x8 latents, conditioned on the frozen text encoder."""

from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from generation.embedded import text
from generation.embedded.autoencoder import LATENT_CHANNELS
from generation.embedded.corpus import CAPTIONS_PER_IMAGE, Corpus
from generation.embedded.loop import LoopConfig, has_native_bfloat16, train

GRID, BATCH, EMPTY_PROMPT_SHARE = (16, 8), 64, 0.1


def build() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=GRID,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(128, 192),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=text.WIDTH,
        attention_head_dim=4,  # number of heads: the name is a slip that diffusers keeps
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """Zero terminal SNR, so that the mean colour of a picture is drawn and not inherited from the noise."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


@torch.no_grad()
def encode_captions(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, captions: list[str]) -> Tensor:
    """(N, 48, 160) bfloat16 states."""
    parts = [captions[i : i + 512] for i in range(0, len(captions), 512)]
    return torch.cat([encoder(text.tokenize(tokenizer, part)).last_hidden_state.bfloat16() for part in parts])


def train_denoiser(
    corpus: Corpus,
    latents: np.ndarray,
    tokenizer: CLIPTokenizer,
    encoder: CLIPTextModel,
    folder: Path,
    steps: int,
    seed: int,
    start: UNet2DConditionModel | None = None,
) -> UNet2DConditionModel:
    """latents: (N, 8, 16, 8) float16, whitened. The loss is the mean squared error of v over all elements. start: weights to go on from."""
    scheduler, data, texts = build_scheduler(), torch.from_numpy(latents), corpus.captions(seed)
    empty = encode_captions(tokenizer, encoder, [""])[0].float()
    torch.manual_seed(seed)
    unet = start if start is not None else build()
    unet.train()
    if not has_native_bfloat16():  # float32 convolutions are a quarter faster this way, bfloat16 ones slower
        unet.to(memory_format=torch.channels_last)

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        rows = rng.integers(len(corpus), size=BATCH)
        captions = [texts[i][c] for i, c in zip(rows, rng.integers(CAPTIONS_PER_IMAGE, size=BATCH), strict=True)]
        states = encode_captions(tokenizer, encoder, captions).float()
        states[torch.from_numpy(rng.random(BATCH) < EMPTY_PROMPT_SHARE)] = empty
        clean = data[torch.from_numpy(rows)].float()
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        timesteps = torch.from_numpy(rng.integers(1000, size=BATCH))
        noisy, target = scheduler.add_noise(clean, noise, timesteps), scheduler.get_velocity(clean, noise, timesteps)
        return (unet(noisy, timesteps, states).sample.float() - target).square().mean()

    return train("denoiser", folder, unet, LoopConfig(steps=steps, lr=6e-4, ema=0.998, warmup=100, decay_share=0.35), loss_of)
