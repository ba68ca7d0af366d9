"""Random models in the layouts of the big ones, a few hundred kilobytes, made in a second."""

import json
from pathlib import Path
from typing import Any


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
    """A LoRA of rank 2 for a StableDiffusionPipeline folder, with weights large enough to see."""
    import torch
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    torch.manual_seed(0)
    layers = {name: torch.randn_like(value) for name, value in get_peft_model_state_dict(unet).items()}
    StableDiffusionPipeline.save_lora_weights(file.parent, unet_lora_layers=layers, weight_name=file.name)
    return file


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


def word_tokenizer(vocab_size: int) -> Any:
    """Words to numbers by their place in a fixed list, unknown ones to <unk>."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "man", "woman", "in", "red", "blue", "shirt", "dress", "hat", "with", "and", "the"]
    vocab = {word: i for i, word in enumerate([*words, *(f"w{i}" for i in range(vocab_size - len(words)))])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>", model_max_length=512
    )


def save_text_encoder(folder: Path, *, width: int, layers: int, max_tokens: int = 24) -> dict[str, object]:
    """A CLIP text encoder and a tokenizer of single letters, as arguments of a pipeline."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(c) for c in range(33, 127)]
    vocab = {token: i for i, token in enumerate([*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"])}
    files = folder / "letters"
    files.mkdir(parents=True, exist_ok=True)
    (files / "vocab.json").write_text(json.dumps(vocab))
    (files / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(files / "vocab.json"), str(files / "merges.txt"), model_max_length=max_tokens)
    config = CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(width // 64, 2),
        max_position_embeddings=max_tokens,
        bos_token_id=vocab["<|startoftext|>"],
        eos_token_id=vocab["<|endoftext|>"],
        pad_token_id=vocab["<|endoftext|>"],
    )
    return {"tokenizer": tokenizer, "text_encoder": CLIPTextModel(config)}


def save_clip(folder: Path) -> Path:
    """A CLIPModel folder with its processor."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

    torch.manual_seed(0)
    text: Any = save_text_encoder(folder, width=16, layers=1)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=text["text_encoder"].config.to_dict(), vision_config={**size, "image_size": 32, "patch_size": 16}, projection_dim=8
    )
    CLIPModel(config).save_pretrained(folder)
    extractor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(extractor, text["tokenizer"]).save_pretrained(folder)
    return folder


def save_siglip(folder: Path) -> Path:
    """A SiglipModel folder with its processor."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor

    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokenizer = word_tokenizer(64)
    text = {**size, "vocab_size": len(tokenizer), "max_position_embeddings": 12, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config={**size, "image_size": 32, "patch_size": 16})).save_pretrained(folder)
    SiglipProcessor(SiglipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def save_classifier(folder: Path, labels: tuple[str, ...]) -> Path:
    """A ViTForImageClassification folder with its image processor."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    torch.manual_seed(0)
    names = dict(enumerate(labels))
    config = ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        id2label=names,
        label2id={name: i for i, name in names.items()},
        initializer_range=1.0,
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


CHAT_TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}<bos>{% endif %}"
)


def save_llava(folder: Path) -> Path:
    """A LlavaForConditionalGeneration folder with its processor: CLIP vision, Llama text; its answers are nonsense."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokenizer = word_tokenizer(64)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    text = LlamaConfig(
        **size, num_key_value_heads=2, vocab_size=len(tokenizer), max_position_embeddings=1024, pad_token_id=0, eos_token_id=1
    )
    vision = CLIPVisionConfig(**size, image_size=32, patch_size=16)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_token))
    model.save_pretrained(folder)
    extractor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        image_processor=extractor,
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def save_blip(folder: Path) -> Path:
    """A BlipForConditionalGeneration folder with its processor; captions are nonsense of a dozen words."""
    import torch
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "man", "woman", "in", "red", "blue", "shirt", "dress", "hat"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), bos_token="[DEC]")
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 5, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3}
    text = {**size, **special, "vocab_size": len(words), "encoder_hidden_size": 16}
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(
        BlipConfig(vision_config={**size, "image_size": 32, "patch_size": 16}, text_config={**text, "max_position_embeddings": 64})
    )
    model.save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder
