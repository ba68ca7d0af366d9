"""`train-diffusion`: renders -> VAE -> text encoder -> UNet -> one StableDiffusionPipeline folder. Every part resumes where it was."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from generation.embedded.autoencoder import encode_corpus, train_autoencoder
from generation.embedded.corpus import Corpus
from generation.embedded.decoder import train_decoder
from generation.embedded.denoiser import build_scheduler, train_denoiser
from generation.embedded.text import train_text_encoder

VAE_CHUNKS = 5


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Optimizer steps of each part, in the order in which they are trained."""

    vae: int
    decoder: int
    text: int
    unet: int


def train_diffusion(work: Path, out: Path, *, chunks: int, steps: Steps, seed: int, start: Path | None = None) -> None:
    """Train what is missing and write the pipeline's folder, float16 safetensors.

    work: folder for renders, latents and states, kept between calls. start: a pipeline folder to go on from; its text encoder and its
    VAE's encoder stay, the VAE's decoder and the UNet are trained further.
    """
    torch.set_flush_denormal(True)
    corpus = Corpus.open(work / "renders", chunks, seed)
    first = Corpus.open(work / "renders", min(VAE_CHUNKS, chunks), seed)
    given = None if start is None else StableDiffusionPipeline.from_pretrained(start, dtype=torch.float32, safety_checker=None)
    vae = given.vae if given else _autoencoder(work, first, steps.vae, seed)
    tokenizer, encoder = (
        (given.tokenizer, given.text_encoder.eval()) if given else train_text_encoder(corpus, work, work / "text", steps.text, seed)
    )
    latents = encode_corpus(vae, corpus, work / f"latents-{len(corpus)}.npy")
    vae = train_decoder(vae, corpus, latents, work, steps.decoder, seed)
    unet = train_denoiser(corpus, latents, tokenizer, encoder, work, steps.unet, seed, given.unet if given else None)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(out, safe_serialization=True)


def _autoencoder(work: Path, corpus: Corpus, steps: int, seed: int) -> AutoencoderKL:
    """Trained and whitened once; later calls read it back, since whitening twice would be wrong."""
    folder = work / "vae"
    if not (folder / "config.json").exists():
        train_autoencoder(corpus, work, steps, seed).save_pretrained(folder)
    return AutoencoderKL.from_pretrained(folder).to(memory_format=torch.channels_last).eval()
