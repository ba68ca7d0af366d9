"""`train-diffusion`: renders -> VAE -> text encoder -> UNet -> one StableDiffusionPipeline folder. Every part resumes where it was."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from generation.embedded.autoencoder import encode_corpus, train_autoencoder
from generation.embedded.corpus import Corpus
from generation.embedded.denoiser import build_scheduler, train_denoiser
from generation.embedded.text import train_text_encoder

VAE_CHUNKS, DENOISER_CHUNKS = 5, 10


def train_diffusion(work: Path, out: Path, *, chunks: int, vae_steps: int, text_steps: int, unet_steps: int, seed: int) -> None:
    """work: folder for renders, latents and states, kept between calls. out: the pipeline's folder, float16 safetensors."""
    torch.set_flush_denormal(True)
    vae = _autoencoder(work, Corpus.open(work / "renders", min(VAE_CHUNKS, chunks), seed), vae_steps, seed)
    corpus = Corpus.open(work / "renders", chunks, seed)
    tokenizer, encoder = train_text_encoder(corpus, work, work / "text", text_steps, seed)
    corpus = Corpus.open(work / "renders", min(DENOISER_CHUNKS, chunks), seed)
    latents = encode_corpus(vae, corpus, work / f"latents-{len(corpus)}.npy")
    unet = train_denoiser(corpus, latents, tokenizer, encoder, work, unet_steps, seed)
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
