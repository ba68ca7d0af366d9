"""Sizes of a few thousand weights for every method."""

TOWER = {"width": 64, "layers": 2, "heads": 1, "hidden": 128}
CLIP = {
    "height": 32,
    "width": 16,
    "patch": 8,
    "image": TOWER,
    "text": TOWER,
    "embed_dim": 64,
    "vocab_size": 1000,
    "context": 77,
}
_LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
BLIP = {
    "vision_config": {**_LAYERS, "image_size": 32, "patch_size": 8},
    "text_config": {**_LAYERS, "max_position_embeddings": 64, "projection_dim": 16},
    "image_text_hidden_size": 16,
    "projection_dim": 16,
}
