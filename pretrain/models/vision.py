"""The image encoder: Swin with a global token, in the parameter names of the published checkpoints.

Legend: B pictures, (R, C) rows and columns of the token grid, N = R*C tokens, T = window**2 tokens of a window, K heads, D channels.
Everything but attention treats each token by itself, so the tokens of a stage lie in the order of the block's windows and move once,
between two blocks whose windows differ: no rolling, cutting and joining inside each block. Between stages they lie row by row.
Source: Liu et al., Swin Transformer (ICCV 2021); APTM's variant puts the mean of the normalised tokens first.
"""

import functools
import itertools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.contracts.errors import ConfigError
from pretrain.models.settings import PATCH, VisionConfig

MASKED = -100.0  # added to logits between tokens of different regions of a shifted window


class PatchEmbed(nn.Module):
    """(B, 3, H, W) -> (B, N, D): one token per 4x4 pixels, normalised.

    Patches do not overlap, so the convolution is one product, whose result has its channels last already.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        patches = image.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH)).permute(0, 2, 4, 1, 3, 5)
        return self.norm(F.linear(patches.flatten(3).flatten(1, 2), self.proj.weight.flatten(1), self.proj.bias))


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

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (B, N, D), window by window; mask (W, T, T) or None."""
        batch, tokens, dim = x.shape
        size, heads = self.relative_position_index.shape[0], self.num_heads
        split = self.qkv(x).view(batch, tokens // size, size, 3, heads, dim // heads)
        query, key, value = split.permute(3, 0, 1, 4, 2, 5).flatten(2, 3).unbind(0)  # (B, W*K, T, d) each
        mixed = attention_with_bias(query, key, value, self._bias(mask, tokens // size), fused=x.is_cuda)
        return self.proj(mixed.unflatten(1, (-1, heads)).transpose(2, 3).reshape(batch, tokens, dim))

    def _bias(self, mask: Tensor | None, num_windows: int) -> Tensor:
        """(W*K, T, T)."""
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if mask is None:
            return bias.expand(num_windows, -1, -1, -1).flatten(0, 1)
        return (bias + mask.unsqueeze(1)).flatten(0, 1)


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Pre-norm window attention and MLP, each with a residual that is dropped for whole samples while training."""

    keep: Tensor

    def __init__(self, dim: int, num_heads: int, grid: tuple[int, int], window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.drops = drop_path > 0.0
        self.register_buffer("keep", torch.tensor(1.0 - drop_path), persistent=False)  # a tensor: compiled code serves blocks of all rates
        self.register_buffer("attn_mask", shift_mask(grid, window, shift) if shift else None)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), tokens in the order of `window_order`."""
        x = x + self._dropped(self.attn(self.norm1(x), self.attn_mask))
        return x + self._dropped(self.mlp(self.norm2(x)))

    def _dropped(self, branch: Tensor) -> Tensor:
        if not self.training or not self.drops:
            return branch
        chosen = torch.rand(branch.shape[0], 1, 1, device=branch.device) < self.keep
        return branch * chosen.to(branch.dtype) / self.keep


class _Permute(torch.autograd.Function):
    """Rows of dimension 1 in another order. The general gradient of indexing would add up rows; here each occurs once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return gradient.index_select(1, inverse), None, None


class Reorder(nn.Module):
    """(B, N, D) tokens from one order to another. Orders are (N,) int64 numpy arrays: the token, counted row by row, at each place."""

    def __init__(self, given: np.ndarray, wanted: np.ndarray) -> None:
        super().__init__()
        order = np.argsort(given)[wanted]
        self.is_identity = bool((order == np.arange(len(order))).all())
        self.register_buffer("order", torch.from_numpy(order), persistent=False)
        self.register_buffer("inverse", torch.from_numpy(np.argsort(order)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.is_identity else _Permute.apply(x, self.order, self.inverse)


class PatchMerging(nn.Module):
    """(B, N, D) with the four tokens of each 2x2 neighbourhood beside each other, column by column -> (B, N/4, 2D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(x.unflatten(1, (-1, 4)).flatten(2)))


class Stage(nn.Module):
    """Blocks of one resolution, then merging, except after the last stage. Tokens go in and come out row by row."""

    def __init__(self, config: VisionConfig, stage: int, drop_rates: list[float]) -> None:
        super().__init__()
        dim, grid = config.stage_dim(stage), config.grid(stage)
        window, shift = config.window(stage)
        shifts = [shift if block % 2 else 0 for block in range(len(drop_rates))]
        self.blocks = nn.ModuleList(
            SwinBlock(dim, config.num_heads[stage], grid, window, shift, rate) for shift, rate in zip(shifts, drop_rates, strict=True)
        )
        last = stage + 1 == config.num_stages
        rows = np.arange(grid[0] * grid[1])
        orders = [rows, *(window_order(grid, window, shift) for shift in shifts), rows if last else neighbour_order(grid)]
        self.moves = nn.ModuleList(Reorder(given, wanted) for given, wanted in itertools.pairwise(orders))
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, x: Tensor) -> Tensor:
        for move, block in zip(self.moves, self.blocks, strict=False):
            x = block(move(x))
        x = self.moves[-1](x)
        return x if self.downsample is None else self.downsample(x)


class SwinEncoder(nn.Module):
    """(B, 3, height, width) normalised picture -> (B, 1 + N, Dv): the global token (mean of all), then N tokens, row by row."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.size = (config.height, config.width)
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
        """Tokens after the patch embedding and after each stage, merging included, before the last norm.

        Raises ConfigError for pictures of another size: their tokens would be taken for those of other places.
        """
        if (found := tuple(image.shape[2:])) != self.size:
            raise ConfigError(
                f"pictures of {found[0]}x{found[1]} for a model of {self.size[0]}x{self.size[1]}; resize them to model.vision of its config"
            )
        outputs = [self.patch_embed(image)]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        return outputs


def to_windows(maps: Tensor, window: int) -> Tensor:
    """(B, R, C, D) -> (B*W, T, D), windows row by row."""
    batch, rows, columns, dim = maps.shape
    tiles = maps.view(batch, rows // window, window, columns // window, window, dim)
    return tiles.transpose(2, 3).reshape(-1, window * window, dim)


def window_order(grid: tuple[int, int], window: int, shift: int) -> np.ndarray:
    """(N,) int64: tokens, counted row by row, in the order of the windows after a cyclic shift by `shift` up and left."""
    maps = np.roll(np.arange(grid[0] * grid[1]).reshape(grid), (-shift, -shift), (0, 1))
    return to_windows(torch.from_numpy(maps).view(1, *grid, 1), window).flatten().numpy()


def neighbour_order(grid: tuple[int, int]) -> np.ndarray:
    """(N,) int64: the four tokens of each 2x2 neighbourhood together, the left two first."""
    rows, columns = grid
    return np.arange(rows * columns).reshape(rows // 2, 2, columns // 2, 2).transpose(0, 2, 3, 1).ravel()


def attention_with_bias(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, fused: bool) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias) value: (B, H, T, d) each, bias (H, T, T) -> (B, H, T, d).

    fused: torch's attention, for GPUs. On a CPU it has no fused kernel where the bias has a gradient, and falls back to more passes over
    the logits than the two of this one.
    """
    if fused:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias.unsqueeze(0).to(query.dtype))
    batch, heads, tokens, dim = query.shape
    flat_query, flat_key, flat_value = (t.reshape(batch * heads, tokens, dim) for t in (query, key, value))
    products = torch.baddbmm(query.new_zeros(1, 1, 1), flat_query, flat_key.transpose(1, 2), beta=0, alpha=dim**-0.5)
    weights = (products.view(batch, heads, tokens, tokens) + bias).softmax(-1)
    return torch.bmm(weights.flatten(0, 1), flat_value).view(batch, heads, tokens, dim)


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
