"""Random models in the layouts of the big ones, a few hundred kilobytes, made in a second."""

import json
from pathlib import Path


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
