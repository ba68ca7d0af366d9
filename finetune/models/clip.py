"""CLIP with all tokens of both towers, under OpenAI's names. Read by IRRA and by the plain CLIP recipe.

transformers' CLIPModel was not taken: its vision tower is square, and IRRA's published weights and optimizer rules go by these names.
Legend: B batch, N = rows x columns + 1 image tokens, L text tokens, W tower width, D shared width.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetune.models.clip_settings import Activation, ClipConfig, TowerConfig


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def activation(name: Activation) -> nn.Module:
    return QuickGELU() if name == "quick_gelu" else nn.GELU()


class Block(nn.Module):
    """Pre-norm attention and MLP, (B, L, W) -> (B, L, W)."""

    def __init__(self, config: TowerConfig, act: Activation) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(config.width, config.heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        layers = (
            ("c_fc", nn.Linear(config.width, config.hidden)),
            ("act", activation(act)),
            ("c_proj", nn.Linear(config.hidden, config.width)),
        )
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks with CLIP's initial weights: projections into the residual stream shrink with the depth."""

    def __init__(self, config: TowerConfig, act: Activation) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(config, act) for _ in range(config.layers))
        residual = config.width**-0.5 * (2 * config.layers) ** -0.5
        for block in self.resblocks:
            assert isinstance(block, Block)
            nn.init.normal_(block.attn.in_proj_weight, std=config.width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=residual)
            rise, _, fall = block.mlp
            assert isinstance(rise, nn.Linear)
            assert isinstance(fall, nn.Linear)
            nn.init.normal_(rise.weight, std=(2 * config.width) ** -0.5)
            nn.init.normal_(fall.weight, std=residual)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class VisionTower(nn.Module):
    """(B, 3, H, W) -> (B, N, D), class token first."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        width, scale = config.image.width, config.image.width**-0.5
        rows, columns = config.grid
        self.conv1 = nn.Conv2d(3, width, config.patch, config.patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(rows * columns + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(config.image, config.activation)
        self.proj = nn.Parameter(scale * torch.randn(width, config.embed_dim))

    def forward(self, image: Tensor) -> Tensor:
        patches = self.conv1(image).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        tokens = torch.cat([first, patches], 1) + self.positional_embedding.to(patches.dtype)
        return self.ln_post(self.transformer(self.ln_pre(tokens))) @ self.proj


class Clip(nn.Module):
    """Two towers. All tokens are normalised and projected, as IRRA does; plain CLIP uses the first image token and the end token."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = VisionTower(config)
        self.transformer = Transformer(config.text, config.activation)
        self.token_embedding = nn.Embedding(config.vocab_size, config.text.width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(config.context, config.text.width))
        self.ln_final = nn.LayerNorm(config.text.width)
        self.text_projection = nn.Parameter(config.text.width**-0.5 * torch.randn(config.text.width, config.embed_dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def image_tokens(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pixels -> (B, N, D)."""
        return self.visual(image)

    def text_tokens(self, ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, D). Each token sees those before it, so what stands behind the end token changes nothing before it."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        mask = torch.full((ids.shape[1], ids.shape[1]), float("-inf"), device=ids.device, dtype=x.dtype).triu(1)
        return self.ln_final(self.transformer(x, mask)) @ self.text_projection


def image_feature(tokens: Tensor) -> Tensor:
    """(B, N, D) -> (B, D), the class token, not normalised."""
    return tokens[:, 0].float()


def text_feature(tokens: Tensor, ids: Tensor) -> Tensor:
    """(B, L, D), (B, L) -> (B, D), the token at the end token, whose id is the largest."""
    return tokens[torch.arange(ids.shape[0], device=ids.device), ids.argmax(1)].float()


def normalised(feature: Tensor) -> Tensor:
    return F.normalize(feature, dim=-1)
