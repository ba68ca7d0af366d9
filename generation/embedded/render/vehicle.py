"""Vehicles for the second query family: a silhouette by type, a paint colour and a brand mark of the renderer's own."""

from dataclasses import dataclass

import cv2
import numpy as np

from generation.embedded.render.background import draw_background
from generation.embedded.render.palette import VEHICLE_COLORS, sample_rgb

TYPES = ("Bus", "Microbus", "Minivan", "SUV", "Sedan", "Truck")
BRANDS = (
    "Audi", "BAOJUN", "BESTUNE", "BMW", "BYD", "Balong Heavy Truck", "Bentley", "Benz", "Buick", "Cadillac", "Chana", "Chery",
    "Chevrolet", "China-Moto", "Citroen", "Dongfeng", "FAW", "FORLAND", "FOTON", "Ford", "Geely", "Golden Dragon", "GreatWall",
    "HAFEI", "Haima", "Honda", "Hongyan", "Hyundai", "Infiniti", "Isuzu", "Iveco", "JAC", "JMC", "Jeep", "Jinbei", "KINGLONG",
    "Karma", "Kia", "LEOPAARD", "Landrover", "Lexus", "Luxgen", "MORRIS-GARAGE", "Mazda", "Mini", "Mitsubishi", "Nissan", "OPEL",
    "PEUGEOT", "Porsche", "ROEWE", "SGMW", "SKODA", "Shacman", "Shuanghuan", "Soueast", "Style", "Subaru", "Suzuki", "Toyota",
    "Volkswagen", "Volvo", "XIALI", "Yutong", "ZXAUTO",
)  # fmt: skip
# Outlines in units of the vehicle's box, nose to the right, y down: body, windows, roof line and wheels by type.
_BODIES = {
    "Sedan": (
        (0.0, 0.58),
        (0.02, 0.46),
        (0.18, 0.42),
        (0.33, 0.16),
        (0.63, 0.16),
        (0.78, 0.42),
        (0.97, 0.50),
        (1.0, 0.64),
        (1.0, 0.84),
        (0.0, 0.84),
    ),
    "SUV": ((0.0, 0.50), (0.03, 0.34), (0.10, 0.08), (0.62, 0.06), (0.76, 0.34), (0.97, 0.42), (1.0, 0.60), (1.0, 0.84), (0.0, 0.84)),
    "Minivan": ((0.0, 0.48), (0.04, 0.20), (0.12, 0.06), (0.58, 0.05), (0.84, 0.38), (0.98, 0.50), (1.0, 0.64), (1.0, 0.84), (0.0, 0.84)),
    "Microbus": ((0.0, 0.40), (0.01, 0.08), (0.05, 0.02), (0.82, 0.02), (0.97, 0.36), (1.0, 0.52), (1.0, 0.86), (0.0, 0.86)),
    "Bus": ((0.0, 0.10), (0.02, 0.02), (0.97, 0.02), (0.99, 0.10), (1.0, 0.50), (1.0, 0.88), (0.0, 0.88)),
    "Truck": ((0.70, 0.30), (0.70, 0.14), (0.76, 0.10), (0.92, 0.10), (0.98, 0.42), (1.0, 0.56), (1.0, 0.84), (0.70, 0.84)),
}
_WINDOWS = {
    "Sedan": (((0.24, 0.42), (0.36, 0.20), (0.47, 0.20), (0.47, 0.42)), ((0.50, 0.42), (0.50, 0.20), (0.61, 0.20), (0.72, 0.42))),
    "SUV": (
        ((0.10, 0.36), (0.14, 0.13), (0.32, 0.13), (0.32, 0.36)),
        ((0.35, 0.36), (0.35, 0.13), (0.50, 0.13), (0.50, 0.36)),
        ((0.53, 0.36), (0.53, 0.13), (0.60, 0.13), (0.70, 0.36)),
    ),
    "Minivan": (
        ((0.08, 0.36), (0.14, 0.12), (0.34, 0.12), (0.34, 0.36)),
        ((0.37, 0.36), (0.37, 0.12), (0.55, 0.12), (0.55, 0.36)),
        ((0.58, 0.36), (0.58, 0.12), (0.76, 0.36)),
    ),
    "Microbus": (
        *tuple(((x, 0.38), (x, 0.1), (x + 0.16, 0.1), (x + 0.16, 0.38)) for x in (0.06, 0.25, 0.44)),
        ((0.64, 0.38), (0.64, 0.1), (0.79, 0.1), (0.91, 0.38)),
    ),
    "Bus": (
        *tuple(((x, 0.4), (x, 0.12), (x + 0.11, 0.12), (x + 0.11, 0.4)) for x in np.arange(0.05, 0.8, 0.13)),
        ((0.86, 0.62), (0.86, 0.12), (0.97, 0.12), (0.98, 0.62)),
    ),
    "Truck": (((0.78, 0.42), (0.78, 0.17), (0.90, 0.17), (0.95, 0.42)),),
}
_ASPECTS = {"Sedan": 2.5, "SUV": 2.1, "Minivan": 2.1, "Microbus": 1.9, "Bus": 2.0, "Truck": 1.8}
_WHEELS = {"Truck": ((0.14, 0.115), (0.34, 0.115), (0.84, 0.115)), "Bus": ((0.20, 0.105), (0.78, 0.105))}
_EMBLEM_COLORS = ((196, 30, 40), (24, 70, 170), (20, 120, 60), (236, 180, 30), (24, 24, 28))


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle identity. Raises: ValueError naming the field of a value outside VEHICLE_COLORS, BRANDS or TYPES."""

    color: str
    brand: str
    type: str

    def __post_init__(self) -> None:
        for name, accepted in (("color", VEHICLE_COLORS), ("brand", BRANDS), ("type", TYPES)):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name}={getattr(self, name)!r}: accepted are {', '.join(accepted)}")


def render_vehicle(vehicle: Vehicle, rng: np.random.Generator, height: int = 128, width: int = 128) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the vehicle from the side, on a street, its brand mark large on the flank."""
    image = cv2.resize(draw_background("street" if rng.random() < 0.6 else "plain", rng, height, width), (2 * width, 2 * height))
    wide = 2 * width * float(rng.uniform(0.86, 0.94))
    high = min(wide / _ASPECTS[vehicle.type], 1.5 * height)
    x = width + float(rng.uniform(-0.02, 0.02)) * width - wide / 2
    y = 2 * height * float(rng.uniform(0.83, 0.90)) - high
    flip = bool(rng.random() < 0.5)
    box = (x, y, wide, high)
    shadow = (int(x + wide / 2), int(y + high * 0.98)), (int(wide * 0.52), int(high * 0.07))
    cv2.ellipse(image, *shadow, 0, 0, 360, (58, 58, 62), -1, cv2.LINE_AA)
    rgb = sample_rgb(vehicle.color, rng)
    _body(image, vehicle.type, rgb, box, flip)
    place = (x + wide * ((1 - 0.36) if flip else 0.36), y + high * 0.61)
    draw_emblem(image, vehicle.brand, place, high * 0.17)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _points(outline: tuple, box: tuple, flip: bool) -> np.ndarray:
    x, y, wide, high = box
    table = np.array(outline, np.float32)
    table[:, 0] = 1.0 - table[:, 0] if flip else table[:, 0]
    return np.round(table * (wide, high) + (x, y)).astype(np.int32)


def _body(image: np.ndarray, kind: str, rgb: np.ndarray, box: tuple, flip: bool) -> None:
    high = box[3]
    if kind == "Truck":
        cargo = ((0.0, 0.02), (0.68, 0.02), (0.68, 0.74), (0.0, 0.74))
        _fill_lit(image, _points(cargo, box, flip), rgb * 0.94)
        cv2.fillPoly(image, [_points(((0.0, 0.74), (1.0, 0.74), (1.0, 0.84), (0.0, 0.84)), box, flip)], (52, 52, 56), cv2.LINE_AA)
    _fill_lit(image, _points(_BODIES[kind], box, flip), rgb)
    for window in _WINDOWS[kind]:
        _fill_lit(image, _points(window, box, flip), np.array((78, 102, 122), np.float32))
    for spot, color in (
        (((0.955, 0.55), (0.995, 0.55), (0.995, 0.64), (0.955, 0.64)), (250, 240, 190)),
        (((0.0, 0.52), (0.025, 0.52), (0.025, 0.62), (0.0, 0.62)), (186, 30, 34)),
    ):
        cv2.fillPoly(image, [_points(spot, box, flip)], color, cv2.LINE_AA)
    for center, radius in _WHEELS.get(kind, ((0.20, 0.165), (0.79, 0.165))):
        place = tuple(int(v) for v in _points(((center, 1.0 - radius),), box, flip)[0])
        size = int(radius * high)
        cv2.circle(image, place, size, (30, 30, 33), -1, cv2.LINE_AA)
        cv2.circle(image, place, int(size * 0.52), (176, 178, 184), -1, cv2.LINE_AA)


def _fill_lit(image: np.ndarray, points: np.ndarray, rgb: np.ndarray) -> None:
    """Fill a polygon with a colour that is lighter at the top: the sky on a lacquered body."""
    top, bottom = max(points[:, 1].min(), 0), min(points[:, 1].max() + 1, image.shape[0])
    mask = np.zeros((bottom - top, image.shape[1]), np.uint8)
    cv2.fillPoly(mask, [points - np.array((0, top), np.int32)], (255,), cv2.LINE_AA)
    ramp = np.linspace(1.10, 0.84, bottom - top, dtype=np.float32)[:, None, None]
    weight = mask[..., None].astype(np.float32) / 255.0
    paint = np.clip(rgb * ramp, 0, 255)
    image[top:bottom] = (image[top:bottom] * (1.0 - weight) + paint * weight).astype(np.uint8)


def emblem_code(brand: str) -> tuple[int, int, int]:
    """(plate shape 0-4, plate colour 0-4, glyph 0-2): a different triple for every brand."""
    index = BRANDS.index(brand)
    return index % 5, index // 5 % 5, index // 25


def draw_emblem(image: np.ndarray, brand: str, center: tuple[float, float], radius: float) -> None:
    """Draw the mark of a brand in place: a bordered plate by shape and colour, a white glyph in it."""
    shape, color, glyph = emblem_code(brand)
    for size, rgb in ((1.22, (250, 250, 250)), (1.0, _EMBLEM_COLORS[color])):
        _plate(image, shape, center, radius * size, rgb)
    light = (252, 252, 252)
    if glyph == 0:
        cv2.circle(image, (int(center[0]), int(center[1])), max(int(radius * 0.40), 1), light, -1, cv2.LINE_AA)
    for vertical in (False, True)[: 0 if glyph == 0 else glyph]:
        dx, dy = (0.0, radius * 0.55) if vertical else (radius * 0.55, 0.0)
        start, end = ((int(center[0] + sign * dx), int(center[1] + sign * dy)) for sign in (-1, 1))
        cv2.line(image, start, end, light, max(int(radius * 0.30), 1), cv2.LINE_AA)


def _plate(image: np.ndarray, shape: int, center: tuple[float, float], radius: float, rgb: tuple) -> None:
    if shape == 0:
        cv2.circle(image, (int(center[0]), int(center[1])), int(radius), rgb, -1, cv2.LINE_AA)
        return
    corners, turn = ((0, 0.0), (4, 0.0), (4, np.pi / 4), (3, -np.pi / 2), (6, 0.0))[shape]
    angles = turn + np.arange(corners) * 2 * np.pi / corners
    points = np.stack([center[0] + 1.12 * radius * np.cos(angles), center[1] + 1.12 * radius * np.sin(angles)], axis=1)
    cv2.fillPoly(image, [np.round(points).astype(np.int32)], rgb, cv2.LINE_AA)
