"""The image encoder: Swin with a global token, in the parameter names of the published checkpoints.

Legend: B pictures, (R, C) rows and columns of the token grid, N = R*C tokens, T = window**2 tokens of a window, K heads, D channels.
Source: Liu et al., Swin Transformer (ICCV 2021); APTM's variant puts the mean of the normalised tokens first.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.models.settings import PATCH, VisionConfig

MASKED = -100.0  # added to logits between tokens of different regions of a shifted window


class PatchEmbed(nn.Module):
    """(B, 3, H, W) -> (B, N, D): one token per 4x4 pixels, normalised."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.proj(image).flatten(2).transpose(1, 2))


class WindowAttention(nn.Module):
    """Attention inside windows with a learned bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, dim: int, window: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """windows (B*W, T, D), W windows of a picture; mask (W, T, T) or None."""
        tokens, dim = windows.shape[-2:]
        shape = (-1, tokens, 3, self.num_heads, dim // self.num_heads)
        query, key, value = self.qkv(windows).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        logits = logits + self._bias(mask, logits)
        mixed = logits.softmax(-1) @ value
        return self.proj(mixed.transpose(1, 2).reshape(-1, tokens, dim))

    def _bias(self, mask: Tensor | None, logits: Tensor) -> Tensor:
        """(1, K, T, T), or (B*W, K, T, T) where windows are masked differently."""
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1).unsqueeze(0)
        if mask is None:
            return bias
        return (bias + mask.unsqueeze(1)).repeat(logits.shape[0] // mask.shape[0], 1, 1, 1)


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Pre-norm window attention and MLP, each with a residual that is dropped for whole samples while training."""

    def __init__(self, dim: int, num_heads: int, grid: tuple[int, int], window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.grid, self.window, self.shift, self.drop_rate = grid, window, shift, drop_path
        self.register_buffer("attn_mask", shift_mask(grid, window, shift) if shift else None)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self._dropped(self._attend(self.norm1(x)))
        return x + self._dropped(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        maps = x.unflatten(1, self.grid)
        if self.shift:
            maps = maps.roll((-self.shift, -self.shift), (1, 2))
        windows = self.attn(to_windows(maps, self.window), self.attn_mask)
        maps = from_windows(windows, self.grid, self.window)
        if self.shift:
            maps = maps.roll((self.shift, self.shift), (1, 2))
        return maps.flatten(1, 2)

    def _dropped(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_rate == 0.0:
            return branch
        keep = 1.0 - self.drop_rate
        chosen = torch.empty(branch.shape[0], 1, 1, dtype=branch.dtype, device=branch.device).bernoulli_(keep)
        return branch * chosen / keep


class PatchMerging(nn.Module):
    """(B, N, D) -> (B, N/4, 2D): each 2x2 neighbourhood becomes one token, column by column."""

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        maps = x.unflatten(1, self.grid)
        corners = [maps[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1).flatten(1, 2)))


class Stage(nn.Module):
    """Blocks of one resolution, then merging, except after the last stage."""

    def __init__(self, config: VisionConfig, stage: int, drop_rates: list[float]) -> None:
        super().__init__()
        dim, grid = config.stage_dim(stage), config.grid(stage)
        window, shift = config.window(stage)
        self.blocks = nn.ModuleList(
            SwinBlock(dim, config.num_heads[stage], grid, window, shift if block % 2 else 0, rate) for block, rate in enumerate(drop_rates)
        )
        self.downsample = PatchMerging(dim, grid) if stage + 1 < config.num_stages else None

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class SwinEncoder(nn.Module):
    """(B, 3, height, width) normalised picture -> (B, 1 + N, Dv): the global token (mean of all), then N tokens, row by row."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        rates = torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").tolist()
        starts = [sum(config.depths[:stage]) for stage in range(config.num_stages)]
        self.patch_embed = PatchEmbed(config.embed_dim)
        self.layers = nn.ModuleList(Stage(config, stage, rates[start : start + config.depths[stage]]) for stage, start in enumerate(starts))
        self.norm = nn.LayerNorm(config.output_dim)
        self.apply(functools.partial(initialise, std=config.init_std))

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.norm(self.stages(image)[-1])
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)

    def stages(self, image: Tensor) -> list[Tensor]:
        """Tokens after the patch embedding and after each stage, merging included, before the last norm."""
        outputs = [self.patch_embed(image)]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        return outputs


def to_windows(maps: Tensor, window: int) -> Tensor:
    """(B, R, C, D) -> (B*W, T, D), windows row by row."""
    batch, rows, columns, dim = maps.shape
    tiles = maps.view(batch, rows // window, window, columns // window, window, dim)
    return tiles.transpose(2, 3).reshape(-1, window * window, dim)


def from_windows(windows: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """Inverse of to_windows."""
    rows, columns = grid
    tiles = windows.view(-1, rows // window, columns // window, window, window, windows.shape[-1])
    return tiles.transpose(2, 3).reshape(-1, rows, columns, windows.shape[-1])


def relative_position_index(window: int) -> Tensor:
    """(T, T) int64: row of the bias table for tokens i, j of a window."""
    axis = torch.arange(window)
    places = torch.cartesian_prod(axis, axis)
    offset = places[:, None] - places[None] + window - 1
    return offset[..., 0] * (2 * window - 1) + offset[..., 1]


def shift_mask(grid: tuple[int, int], window: int, shift: int) -> Tensor:
    """(W, T, T) float32: 0 inside a region, -100 between regions that only the cyclic shift made neighbours."""
    regions = [torch.bucketize(torch.arange(size), torch.tensor([size - window, size - shift]), right=True) for size in grid]
    labels = (regions[0][:, None] * 3 + regions[1][None]).view(1, *grid, 1)
    tiles = to_windows(labels, window).squeeze(-1)
    return (tiles[:, None] != tiles[:, :, None]).float() * MASKED


def initialise(module: nn.Module, std: float) -> None:
    """Random weights of linear layers and bias tables, normal up to two deviations; biases 0. Convolutions keep torch's default."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, WindowAttention):
        nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)
