"""Weights of `transformers` models in the names of the original ones: SwinModel, BertModel and their heads."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_SWIN = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.layers\.", "layers."),
    (r"^layernorm\.", "norm."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.self\.relative_position", ".attn.relative_position"),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
_PARTS = ("query", "key", "value")
_PART = re.compile(r"\.attention\.self\.(query|key|value)\.")


def original_swin(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A SwinModel's or SwinForImageClassification's state in the names of Swin's own files; other states come back as they are."""
    state = {name.removeprefix("swin."): tensor for name, tensor in state.items()}
    if "embeddings.patch_embeddings.projection.weight" not in state:
        return state
    adapted = {}
    for name, tensor in state.items():
        if match := _PART.search(name):
            if match[1] == "query":
                parts = [state[_PART.sub(f".attention.self.{part}.", name)] for part in _PARTS]
                adapted[_PART.sub(".attn.qkv.", name).removeprefix("encoder.")] = torch.cat(parts)
            continue
        for pattern, replacement in _SWIN:
            name = re.sub(pattern, replacement, name)
        adapted[name] = tensor
    return adapted


def original_bert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A BertModel's state with the prefix that models with heads have."""
    if "embeddings.word_embeddings.weight" in state:
        return {f"bert.{name}": tensor for name, tensor in state.items()}
    return dict(state)
