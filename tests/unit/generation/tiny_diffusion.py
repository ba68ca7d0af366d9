"""Text-to-image models of every family: real architectures, a few channels wide, random weights."""

from pathlib import Path
from typing import Any

from tests.unit.generation.tiny_text import save_text_encoder, word_tokenizer


def save_diffusion(folder: Path, *, seed: int = 0) -> Path:
    """A StableDiffusionPipeline folder; pictures are 32x16 (HxW), two latent pixels a side less."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(seed)
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
    )
    unet = UNet2DConditionModel(
        sample_size=(16, 8),
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=16,
    )
    StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        **save_text_encoder(folder, width=16, layers=1),
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def save_checker(folder: Path, *, flags: bool) -> Path:
    """Add a safety checker to a StableDiffusionPipeline folder that takes everything, or nothing, for unsafe."""
    import torch
    from diffusers import StableDiffusionPipeline
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessorPil

    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 8}
    config = CLIPConfig(
        text_config={**size, "vocab_size": 32}, vision_config={**size, "image_size": 32, "patch_size": 16}, projection_dim=8
    )
    checker = StableDiffusionSafetyChecker(config)
    for name in ("concept_embeds_weights", "special_care_embeds_weights"):
        getattr(checker, name).data = torch.full_like(getattr(checker, name), -2.0 if flags else 2.0)
    extractor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=checker, feature_extractor=extractor)
    pipeline.save_pretrained(folder)
    return folder


def save_lora(model: Path, file: Path) -> Path:
    """A LoRA of rank 2 for a pipeline's folder, by its own class, with weights large enough to see."""
    import torch
    from diffusers import DiffusionPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipeline = DiffusionPipeline.from_pretrained(model)
    part = "unet" if hasattr(pipeline, "unet") else "transformer"
    denoiser = getattr(pipeline, part)
    denoiser.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    torch.manual_seed(0)
    layers = {name: torch.randn_like(value) for name, value in get_peft_model_state_dict(denoiser).items()}
    type(pipeline).save_lora_weights(file.parent, **{f"{part}_lora_layers": layers}, weight_name=file.name)
    return file


def save_lcm(folder: Path, *, as_stable_diffusion: bool = False) -> Path:
    """A LatentConsistencyModelPipeline folder, or one of StableDiffusionPipeline, as LCM-SDXL is published: the UNet is told the guidance.
    Pictures are 32x16."""
    import torch
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    plain = StableDiffusionPipeline.from_pretrained(save_diffusion(folder))
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config({**plain.unet.config, "time_cond_proj_dim": 16})
    made_by = StableDiffusionPipeline if as_stable_diffusion else LatentConsistencyModelPipeline
    made_by(**{**plain.components, "unet": unet, "scheduler": LCMScheduler()}, requires_safety_checker=False).save_pretrained(folder)
    return folder


def save_sdxl(folder: Path) -> Path:
    """A StableDiffusionXLPipeline folder: two text encoders, time ids; pictures are 32x32."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    first = save_text_encoder(folder, width=16, layers=2)
    second = save_text_encoder(folder, width=16, layers=2)
    encoder: Any = first["text_encoder"]
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
    )
    config = encoder.config
    config.projection_dim = 16
    StableDiffusionXLPipeline(
        vae=tiny_vae(),
        unet=unet,
        text_encoder=encoder,
        tokenizer=first["tokenizer"],
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer_2=second["tokenizer"],
        scheduler=EulerDiscreteScheduler(),
    ).save_pretrained(folder)
    return folder


def save_flux(folder: Path, *, guidance_embeds: bool = True) -> Path:
    """A FluxPipeline folder: CLIP and T5 text encoders, a transformer over packed latents. guidance_embeds: as Flux-dev, not schnell."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    clip = save_text_encoder(folder, width=32, layers=1)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    )
    t5 = T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=tiny_vae(shift_factor=0.1),
        text_encoder=clip["text_encoder"],
        tokenizer=clip["tokenizer"],
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=word_tokenizer(64),
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def save_sana(folder: Path, *, sample_size: int = 32) -> Path:
    """A SanaPipeline folder: Gemma 2 text encoder, deep-compression autoencoder, linear-attention transformer."""
    import torch
    from diffusers import AutoencoderDC, FlowMatchEulerDiscreteScheduler, SanaPipeline, SanaTransformer2DModel
    from transformers import Gemma2Config, Gemma2Model

    torch.manual_seed(0)
    gemma = Gemma2Config(
        vocab_size=64, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=4
    )
    transformer = SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=8,
        sample_size=sample_size,
    )
    blocks = {f"{side}_block_types": ("ResBlock", "EfficientViTBlock") for side in ("encoder", "decoder")}
    vae = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
        **blocks,
    )
    SanaPipeline(
        tokenizer=word_tokenizer(64),
        text_encoder=Gemma2Model(gemma),
        vae=vae,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    ).save_pretrained(folder)
    return folder


def save_qwen_image(folder: Path) -> Path:
    """A QwenImagePipeline folder: Qwen2.5-VL as text encoder, a VAE of 3-D convolutions; pictures want height and width of 32 or more."""
    import torch
    from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImagePipeline, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    vae = AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=4,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=3,
        joint_attention_dim=16,
        guidance_embeds=False,
        axes_dims_rope=(8, 4, 4),
    )
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6},
        "vocab_size": 64,
        **{"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2},
    }
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)),
        tokenizer=word_tokenizer(64),
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def tiny_vae(**fields: Any) -> Any:
    """Four latent channels, half the size."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
        **fields,
    )
