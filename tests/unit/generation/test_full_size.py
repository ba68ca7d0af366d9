"""The path of a real Stable Diffusion 1.5 folder, proven with its architecture and random weights. Slow: 4 GB of weights."""

from pathlib import Path

import pytest

from generation.config import GenerateConfig
from generation.generate import GenerateStage
from generation.images import decode_rgb
from pipeline.contracts.stage import Item, Keep
from tests.unit.generation.tiny_text import save_text_encoder

pytestmark = pytest.mark.slow


def save_stable_diffusion_15(folder: Path) -> Path:
    """UNet 320/640/1280/1280, CLIP-L text encoder (12 layers of 768), KL VAE 128/256/512/512.

    1.03 billion parameters; the real one has 0.04 more in its vocabulary.
    """
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)  # the class's defaults are those of 1.x
    scheduler = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1)
    StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        **save_text_encoder(folder, width=768, layers=12, max_tokens=77),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def test_a_full_size_checkpoint_makes_a_picture(tmp_path: Path) -> None:
    folder = save_stable_diffusion_15(tmp_path / "stable-diffusion-v1-5")
    config = GenerateConfig(
        model=str(folder), device="cpu", steps=2, guidance=7.0, height=512, width=256, scheduler="DPMSolverMultistepScheduler"
    )
    stage = GenerateStage(config, run_seed=0)
    stage.setup()
    (outcome,) = stage.process([Item("000000000_00", {"prompt": "a woman in a red dress"})])
    assert isinstance(outcome, Keep)
    assert outcome.image is not None
    image = decode_rgb(outcome.image)
    assert image.shape == (512, 256, 3)
    assert image.std() > 0
    assert outcome.row["generator"]["scheduler"] == "DPMSolverMultistepScheduler"
