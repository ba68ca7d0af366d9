"""The rasteriser: shaded, anti-aliased tapered capsules, lofted bodies and flat ellipses, each inside its bounding box.

Shapes are painted back to front (body.py sorts them by depth), so that edges blend softly over what lies behind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Rgb = np.ndarray | tuple[float, float, float]
Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]
Edge = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Frame:
    """From body units to pixels. A body is 1 high: x to its left, y down from the crown, z forward.

    `yaw` turns it (0 faces the viewer, pi/2 faces right); `lean` shifts the head sideways; `pitch` is the camera's look-down.
    """

    scale: float
    left: float
    top: float
    yaw: float = 0.0
    lean: float = 0.0
    pitch: float = 0.10

    def project(self, x: Any, y: Any, z: Any = 0.0) -> tuple[Any, Any, Any]:
        """Body coordinates (floats or equal-length arrays) -> (x px, y px, depth towards the viewer in body units)."""
        across = x * np.cos(self.yaw) + z * np.sin(self.yaw)
        depth = z * np.cos(self.yaw) - x * np.sin(self.yaw)
        return self.left + self.scale * (across + self.lean * (1.0 - y)), self.top + self.scale * (y + self.pitch * depth), depth


class Canvas:
    """A float32 picture with one light. `pixels` is (H, W, 3) RGB in 0-255."""

    def __init__(self, background: np.ndarray, light: tuple[float, float, float], gain: float = 1.0) -> None:
        self.pixels = background.astype(np.float32)
        self.height, self.width = background.shape[:2]
        self.light = np.asarray(light, np.float32) / np.linalg.norm(light)
        self.gain = gain
        self.xs = np.arange(self.width, dtype=np.float32) + 0.5
        self.ys = (np.arange(self.height, dtype=np.float32) + 0.5)[:, None]

    def box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice] | None:
        """Rows and columns of the rectangle, clipped to the picture; None when nothing is left."""
        top, bottom = max(int(y0) - 1, 0), min(int(y1) + 2, self.height)
        left, right = max(int(x0) - 1, 0), min(int(x1) + 2, self.width)
        return (slice(top, bottom), slice(left, right)) if bottom > top and right > left else None

    def shade(self, nx: np.ndarray, ny: np.ndarray, nz: np.ndarray) -> np.ndarray:
        """Lambert shading of unit normals, 0.5 to about 1.1; grazing surfaces are darkened so that equal colours stay apart."""
        facing = np.maximum(nx * self.light[0] + ny * self.light[1] + nz * self.light[2], 0.0)
        return self.gain * (0.66 + 0.42 * facing) * (0.80 + 0.20 * nz)

    def blend(self, where: tuple[slice, slice], alpha: np.ndarray, shade: np.ndarray | float, rgb: np.ndarray) -> None:
        """Composite a shaded colour; rgb is (3,) or (h, w, 3). The small constant keeps folds visible on black cloth."""
        region = self.pixels[where]
        color = (rgb + 9.0) * shade[..., None] - 7.0 if isinstance(shade, np.ndarray) else rgb * shade
        region += (color - region) * alpha[..., None]

    def capsule(
        self, start: tuple, end: tuple, start_radius: float, end_radius: float, rgb: np.ndarray, *, limb: bool = False, cut: bool = False
    ) -> None:
        """A tapered capsule from `start` to `end` (x, y in px, further values ignored); radii in px.

        `limb` shades it as a cylinder, so that the bones of an arm or leg join without a visible ball; `cut` ends it
        straight at `end`, as a sleeve or trouser leg does.
        """
        reach = max(start_radius, end_radius)
        where = self.box(
            min(start[0], end[0]) - reach, min(start[1], end[1]) - reach, max(start[0], end[0]) + reach, max(start[1], end[1]) + reach
        )
        if where is None:
            return
        px, py = self.xs[where[1]] - start[0], self.ys[where[0]] - start[1]
        dx, dy = end[0] - start[0], end[1] - start[1]
        square_length = dx * dx + dy * dy + 1e-6
        raw = ((px * dx + py * dy) / square_length).astype(np.float32)
        along = np.clip(raw, 0.0, 1.0)
        qx, qy = px - along * dx, py - along * dy
        radius = start_radius + (end_radius - start_radius) * along
        square = qx * qx + qy * qy
        alpha = np.clip(radius - np.sqrt(square) + 0.5, 0.0, 1.0)
        length = float(np.sqrt(square_length))
        if cut:
            alpha = alpha * np.clip((1.0 - raw) * length + 0.5, 0.0, 1.0)
        inverse = 1.0 / radius
        if limb and length > reach:
            across = (px * dy - py * dx) / square_length
            qx, qy = across * dy, -across * dx
            square = qx * qx + qy * qy
        nz = np.sqrt(np.clip(1.0 - square * inverse * inverse, 0.0, 1.0))
        self.blend(where, alpha, self.shade(qx * inverse, qy * inverse, nz), np.asarray(rgb, np.float32))

    def stroke(self, start: tuple, end: tuple, width: float, rgb: Rgb) -> None:
        """A flat round-ended line, `width` px; thinner than a pixel it fades instead of vanishing."""
        radius, opacity = max(width / 2.0, 0.5), min(1.0, width)
        where = self.box(
            min(start[0], end[0]) - radius, min(start[1], end[1]) - radius, max(start[0], end[0]) + radius, max(start[1], end[1]) + radius
        )
        if where is None:
            return
        px, py = self.xs[where[1]] - start[0], self.ys[where[0]] - start[1]
        dx, dy = end[0] - start[0], end[1] - start[1]
        along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy + 1e-6), 0.0, 1.0)
        alpha = opacity * np.clip(radius - np.hypot(px - along * dx, py - along * dy) + 0.5, 0.0, 1.0)
        self.blend(where, alpha, self.gain, np.asarray(rgb, np.float32))

    def ellipse(self, center: tuple, rx: float, ry: float, rgb: Rgb, opacity: float = 1.0, *, domed: bool = False) -> None:
        """An upright ellipse with radii in px, flat or shaded as a dome."""
        opacity *= min(1.0, 2.0 * rx) * min(1.0, 2.0 * ry)
        rx, ry = max(rx, 0.5), max(ry, 0.5)
        where = self.box(center[0] - rx, center[1] - ry, center[0] + rx, center[1] + ry)
        if where is None:
            return
        nx, ny = (self.xs[where[1]] - center[0]) / rx, (self.ys[where[0]] - center[1]) / ry
        distance = np.sqrt(nx * nx + ny * ny)
        alpha = opacity * np.clip((1.0 - distance) * min(rx, ry) + 0.5, 0.0, 1.0)
        shade = self.shade(nx, ny, np.sqrt(np.clip(1.0 - distance**2, 0.0, 1.0))) if domed else self.gain
        self.blend(where, alpha, shade, np.asarray(rgb, np.float32))

    def loft(
        self,
        frame: Frame,
        levels: list[tuple],
        rgb: Rgb,
        *,
        sag: float = 0.0,
        flat: float = 1.0,
        edge: Edge | None = None,
        texture: Texture | None = None,
        second: np.ndarray | None = None,
    ) -> None:
        """A body lofted through horizontal ellipses, turned by the frame's yaw.

        Args:
            levels: rows (y, half width, half depth, x, z) in body units, y ascending; the last two may be left out.
            sag: how far the hem's middle hangs below its sides, body units (a round hem seen from slightly above).
            flat: 1 is round; below 1 the front is flattened (boxes, bags).
            edge: alpha factor from (azimuth from straight ahead 0..pi, y in body units), for hairlines and openings.
            texture: weight 0..1 of `second` from (u -1..1 across, v body units down).
        """
        table = np.array([(*row, 0.0, 0.0)[:5] for row in levels], float)
        cos, sin = np.cos(frame.yaw), np.sin(frame.yaw)
        center, _, _ = frame.project(table[:, 3], table[:, 0], table[:, 4])
        half = frame.scale * np.hypot(table[:, 1] * cos, table[:, 2] * sin)
        rows_px = frame.top + frame.scale * table[:, 0]
        where = self.box((center - half).min(), rows_px[0], (center + half).max(), rows_px[-1])
        if where is None:
            return
        ys = self.ys[where[0]]
        width = _smooth(np.interp(ys[:, 0], rows_px, half), frame.scale)
        middle = np.interp(ys[:, 0], rows_px, center)[:, None].astype(np.float32)
        slope = np.gradient(width)[:, None] if len(width) > 1 else np.zeros((1, 1), np.float32)
        width = np.maximum(width, 0.3)[:, None]
        nx = (self.xs[where[1]] - middle) / width
        alpha = np.clip((1.0 - np.abs(nx)) * width + 0.5, 0.0, 1.0)
        nx = np.clip(nx, -1.0, 1.0)
        nz = np.sqrt(1.0 - nx * nx)
        bottom = rows_px[-1] - sag * frame.scale * (1.0 - nz)
        alpha = alpha * np.clip(ys - rows_px[0] + 0.5, 0.0, 1.0) * np.clip(bottom - ys + 0.5, 0.0, 1.0)
        color, v = np.asarray(rgb, np.float32), (ys - frame.top) / frame.scale
        if edge is not None:
            azimuth = np.arcsin(nx) - frame.yaw
            alpha = alpha * edge(np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi), v)
        if texture is not None:
            weight = np.broadcast_to(texture(nx, v), nx.shape)[..., None]
            color = color + (np.asarray(second, np.float32) - color) * weight
        tilt = 1.0 / np.sqrt(1.0 + slope * slope)
        shade = self.shade(nx * flat * tilt, -slope * tilt, np.sqrt(1.0 - (nx * flat) ** 2) * tilt)
        self.blend(where, alpha.astype(np.float32), shade.astype(np.float32), color)


def _smooth(values: np.ndarray, scale: float) -> np.ndarray:
    """Round the corners of a profile; a width in pixels per row."""
    size = min(int(scale * 0.016), len(values) // 14) * 2 + 1
    if size < 3 or len(values) < size:
        return values.astype(np.float32)
    padded = np.pad(values, size // 2, mode="edge")
    return np.convolve(padded, np.full(size, 1.0 / size), mode="valid").astype(np.float32)
