"""The VAE of the embedded diffusion model: 128x64 RGB <-> 16x8 latents of 8 channels, trained on renders.

128 positions are what a UNet can be trained on with a CPU. The learned moments are whitened afterwards inside the
1x1 quantisation convolutions, so that latents have unit variance in every channel and `scaling_factor` is 1.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from generation.embedded.corpus import Corpus
from generation.embedded.loop import LoopConfig, has_native_bfloat16, train

CHANNELS, LATENT_CHANNELS, BATCH = (32, 48, 96, 128), 8, 8
HEIGHT, WIDTH = 128, 64
NOISE, SIZE_WEIGHT, LOG_VARIANCE = 0.1, 1e-4, -4.6  # latents stay near unit size and are told apart at a tenth of it
CHROMA_WEIGHT = 2.0
ANCHOR_WEIGHT = 1.0  # the first three latents are told to be the mean colour of their cell: left alone, colours come last and slowly
FACE_WEIGHT, FACE_RADIUS_PX = 4.0, 10  # the pose detector looks for eyes and mouth, which cover one pixel in a hundred


def build() -> AutoencoderKL:
    """A fresh VAE that starts as a nearly linear down- and upsampler.

    With PyTorch's own start the colours had not appeared after 600 steps; from here they are learned within the first hundred.
    """
    depth = len(CHANNELS)
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * depth,
        up_block_types=["UpDecoderBlock2D"] * depth,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=HEIGHT,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
            if module.conv_shortcut is not None:
                nn.init.orthogonal_(module.conv_shortcut.weight)
        elif isinstance(module, Upsample2D):
            nn.init.dirac_(module.conv.weight)
        elif isinstance(module, Downsample2D):
            nn.init.zeros_(module.conv.weight)
            module.conv.weight.data[:, :, :2, :2] = torch.eye(module.channels)[:, :, None, None] / 4
    colour_mix = torch.randn(CHANNELS[0], 3) @ opponent(torch.eye(3).view(3, 3, 1, 1)).view(3, 3).T
    vae.encoder.conv_in.weight.data[:, :, 1, 1] = colour_mix / 2
    return vae.to(memory_format=torch.channels_last)


def to_tensor(images: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1], channels last."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def face_weights(noses: list[list[float]]) -> Tensor:
    """(B, 1, H, W): FACE_WEIGHT within a soft circle around each nose (x, y in px of the corpus, twice as large), 1 elsewhere."""
    ys, xs = torch.arange(HEIGHT).view(1, -1, 1), torch.arange(WIDTH).view(1, 1, -1)
    nose = torch.tensor(noses).view(-1, 2, 1, 1) / 2
    squared = (xs - nose[:, 0]) ** 2 + (ys - nose[:, 1]) ** 2
    return (1 + (FACE_WEIGHT - 1) * torch.exp(-squared / (2 * (FACE_RADIUS_PX / 2) ** 2)))[:, None]


def opponent(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) RGB -> lightness, red - green, yellow - blue; each of about unit size on renders."""
    red, green, blue = rgb.unbind(1)
    return torch.stack([(red + green + blue) / 2, 2 * (red - green), 2 * ((red + green) / 2 - blue)], 1)


def reconstruction_loss(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 and squared error of lightness and two chroma differences, plus L1 of gradients (sharp edges) and of an 8-fold reduction."""
    error = (output - target) * weight
    chroma = opponent(output - target)[:, 1:] / 2
    edges = (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()) / 2
    coarse = F.avg_pool2d(output - target, 8).abs().mean()
    return error.abs().mean() + error.square().mean() + CHROMA_WEIGHT * (chroma.abs().mean() + chroma.square().mean()) / 2 + edges + coarse


def train_autoencoder(corpus: Corpus, folder: Path, steps: int, seed: int) -> AutoencoderKL:
    """Encoder means with a little fixed noise are decoded again; the encoder's own variance is set to that noise afterwards."""
    torch.manual_seed(seed)
    vae = build()

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        indices = rng.integers(len(corpus), size=BATCH)
        target, weight = to_tensor(corpus.small_images(indices)), face_weights([corpus.records[i]["nose"] for i in indices])
        mean = vae.encode(target).latent_dist.mean
        noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32))
        output = vae.decode(mean + NOISE * noise).sample.float()
        anchor = (mean[:, :3].float() - opponent(F.avg_pool2d(target, 8))).square().mean()
        return reconstruction_loss(output, target, weight) + ANCHOR_WEIGHT * anchor + SIZE_WEIGHT * mean.float().square().mean()

    model = train("autoencoder", folder, vae, LoopConfig(steps=steps, lr=1.5e-3, ema=0.99, warmup=50, weight_decay=0.0), loss_of)
    whiten(model, corpus)
    return model


@torch.no_grad()
def whiten(vae: AutoencoderKL, corpus: Corpus, num_images: int = 512) -> None:
    """Fold (z - mean) / std per channel into quant_conv and its inverse into post_quant_conv; the variance becomes a constant."""
    indices = np.linspace(0, len(corpus) - 1, num_images).astype(np.int64)
    latents = torch.cat(
        [vae.encode(to_tensor(corpus.small_images(part))).latent_dist.mean for part in np.array_split(indices, num_images // 16)]
    )
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:LATENT_CHANNELS] /= std[:, None, None, None]
    quant.bias[:LATENT_CHANNELS] = (quant.bias[:LATENT_CHANNELS] - mean) / std
    quant.weight[LATENT_CHANNELS:] = 0
    quant.bias[LATENT_CHANNELS:] = LOG_VARIANCE
    post.bias += post.weight[..., 0, 0] @ mean
    post.weight *= std[None, :, None, None]


@torch.no_grad()
def encode_corpus(vae: AutoencoderKL, corpus: Corpus, path: Path) -> np.ndarray:
    """Posterior means of every picture, (N, 8, 16, 8) float16, kept in `path`."""
    if path.exists():
        return np.load(path)
    parts = np.array_split(np.arange(len(corpus)), max(1, len(corpus) // 32))
    with torch.autocast("cpu", torch.bfloat16, enabled=has_native_bfloat16()):
        latents = np.concatenate([vae.encode(to_tensor(corpus.small_images(p))).latent_dist.mean.half().numpy() for p in parts])
    np.save(path, latents)
    return latents
