"""Sharpen the VAE's decoder while its encoder, and with it every latent, stays: the UNet need not be trained again.

Reconstruction loss alone averages over what the latents do not tell, and pictures come out soft. A patch discriminator that sees renders
and reconstructions adds two terms (VQGAN, Esser et al. 2021, section 3.1; feature matching as in pix2pixHD, Wang et al. 2018, eq. 4).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from generation.embedded.autoencoder import NOISE, face_weights, reconstruction_loss, to_tensor
from generation.embedded.corpus import Corpus
from generation.embedded.loop import LoopConfig, train

BATCH, ADVERSARY_WEIGHT, MATCHING_WEIGHT = 8, 0.05, 1.0
ADVERSARY_FROM_STEP = 200  # the discriminator learns first


class Discriminator(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> the features of three levels and one logit for each patch of 8x8."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 32), (32, 64), (64, 96))
        norm = nn.utils.parametrizations.spectral_norm
        self.levels = nn.ModuleList(norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)) for inputs, outputs in sizes)
        self.logit = norm(nn.Conv2d(96, 1, 3, padding=1))

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        features = []
        for level in self.levels:
            images = F.leaky_relu(level(images), 0.2)
            features.append(images)
        return features, self.logit(images)


class _Pair(nn.Module):
    """What one optimizer trains: the decoding half of a VAE and its adversary."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder, self.discriminator = vae.post_quant_conv, vae.decoder, Discriminator()

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(latents))

    def judge_frozen(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The discriminator's answer with a gradient for the images alone."""
        frozen = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        return torch.func.functional_call(self.discriminator, frozen, (images,))


def train_decoder(vae: AutoencoderKL, corpus: Corpus, latents: np.ndarray, folder: Path, steps: int, seed: int) -> AutoencoderKL:
    """latents: (N, 8, 16, 8) float16, the corpus as the unchanged encoder sees it. Returns the same VAE with its decoder trained on."""
    data = torch.from_numpy(latents)
    torch.manual_seed(seed)
    pair = _Pair(vae).train()

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, 43, step))
        rows = rng.integers(len(corpus), size=BATCH)
        clean = data[torch.from_numpy(rows)].float()
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        target, weight = to_tensor(corpus.small_images(rows)), face_weights([corpus.records[i]["nose"] for i in rows])
        output = pair.decode(clean + NOISE * noise).float()
        _, real_logit = pair.discriminator(target)
        _, fake_logit = pair.discriminator(output.detach())
        hinge = F.relu(1 - real_logit.float()).mean() + F.relu(1 + fake_logit.float()).mean()
        loss = reconstruction_loss(output, target, weight) + hinge
        if step >= ADVERSARY_FROM_STEP:
            with torch.no_grad():
                wanted, _ = pair.judge_frozen(target)
            features, logit = pair.judge_frozen(output)
            matching = sum((f.float() - w.float()).abs().mean() for f, w in zip(features, wanted, strict=True))
            loss = loss + MATCHING_WEIGHT * matching - ADVERSARY_WEIGHT * logit.float().mean()
        return loss

    config = LoopConfig(steps=steps, lr=6e-4, ema=0.995, warmup=50, weight_decay=0.0)
    train("decoder", folder, pair, config, loss_of)
    return vae.eval()
