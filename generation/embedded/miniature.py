"""A small data folder in the challenge's format, drawn by the renderer: the target domain that fine-tuning and its evaluation read.

    train/train_images/*.jpg  train/train_label.txt     image$21 bits$text and image$tag.$text, vehicles first
    val/val_images/*.jpg      val/val_label.txt
    test/test_images/*.jpg    test/test_text.txt        one query per picture, in an order that tells nothing; vehicles first
                              test/test_gt.txt          query$image$image..., the answers
    miniature.json                                      seed and sizes, written last

As in the published data: file names, one line per picture, sentences that say less than the bits, train and validation tags that never
fill all three slots, test queries that always do, and every colour and brand of a test query known from training with another type.
Identities are disjoint: no person, and no colour + brand + type, is in two splits. A person is drawn once from each view, three lines.
Everything has the surveillance look except the training vehicles, which are clean as the web photographs of the real training set.

What counts as right, here and in `finetune.evaluate`: a vehicle picture whose tag equals the query's; a pedestrian picture whose bits
include those of the line that the query was written for (`pipeline.contracts.challenge.includes`, the winners' validation rule, since
the organisers' own is not published). A pedestrian query names only a part of these bits, so not every query can be answered perfectly.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import cycle
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

import click
import cv2
import numpy as np

from generation.embedded.render.degrade import surveillance
from generation.embedded.render.labels import bits21
from generation.embedded.render.person import VIEWS, sample_person
from generation.embedded.render.scene import render_person
from generation.embedded.render.vehicle import Vehicle, render_vehicle
from pipeline.contracts.challenge import COLOURS, TYPES, VehicleTag, includes
from pipeline.contracts.challenge_sentences import write_pedestrian, write_vehicle
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.fileio import read_json, write_json
from pipeline.seeds import derive_seed

FORMAT = 1  # raised whenever the same seed and sizes would give other bytes
MARKER = "miniature.json"
BRANDS = ("Audi", "BMW", "BYD", "Balong Heavy Truck", "China-Moto", "Golden Dragon", "Honda", "KINGLONG", "MORRIS-GARAGE", "Toyota")
TAG_KINDS = ("colour brand", "colour brand", "type", "colour brand") * 4 + ("colour brand", "colour brand", "brand", "colour brand")
"""Which slots a train or val tag fills, taken in turn: 75 %, 20 %, 5 %. Published: 85 %, 14 %, 1 %; here few lines must teach six types."""
IMAGES_PER_VEHICLE = 3
PEDESTRIAN_SIZE_PX, VEHICLE_SIZE_PX = (128, 64), (128, 128)  # height, width
JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniatureSizes:
    """Identities per split, three pictures each. Raises ConfigError for a size that is not positive or that the vocabulary cannot fill."""

    train_people: int = 200
    train_vehicles: int = 100
    val_people: int = 24
    val_vehicles: int = 12
    test_people: int = 60
    test_vehicles: int = 30

    def __post_init__(self) -> None:
        if bad := {name: value for name, value in asdict(self).items() if value < 1}:
            raise ConfigError(f"miniature sizes {bad}; accepted: at least 1 identity each")
        most, named = len(COLOURS) * len(BRANDS), sum(kind == "colour brand" for kind in _kinds(self.train_vehicles))
        if self.train_vehicles > most or self.val_vehicles + self.test_vehicles > named:
            raise ConfigError(
                f"miniature vehicles {self.train_vehicles} train, {self.val_vehicles} val, {self.test_vehicles} test; accepted: at most "
                f"{most} for training, and val + test at most 3/4 of these, because each takes a colour and brand that a training tag names"
            )


def _kinds(count: int) -> list[str]:
    return [kind for kind, _ in zip(cycle(TAG_KINDS), range(count), strict=False)]


@dataclass(frozen=True, slots=True)
class _Line:
    image: str
    attributes: str
    text: str
    key: Any  # what decides positives: 21 bits or the tag
    picture: np.ndarray


def make_miniature(out: Path, seed: int, sizes: MiniatureSizes | None = None) -> bool:
    """Make the folder `out`, whole or not at all; the same seed and sizes give the same bytes. Returns False if it was there already.

    Raises ContractError if `out` holds anything else, another seed or other sizes; StageError if the disk refuses.
    """
    sizes = sizes or MiniatureSizes()
    marker = {"format": FORMAT, "seed": seed, "sizes": asdict(sizes)}
    if out.exists():
        _check_existing(out, marker)
        return False
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        _write_splits(temporary, seed, sizes)
        write_json(temporary / MARKER, marker)
        temporary.replace(out)
    except OSError as err:
        raise StageError(f"cannot write {out}: {err.strerror or err}; free some space or choose another folder, then run again") from err
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _check_existing(out: Path, marker: dict[str, Any]) -> None:
    found = read_json(out / MARKER) if (out / MARKER).is_file() else "no miniature"
    if found != marker:
        raise ContractError(f"{out} holds {found}, asked for was {marker}; choose another folder or remove this one")


def _write_splits(root: Path, seed: int, sizes: MiniatureSizes) -> None:
    rng = Random(derive_seed(seed, "miniature"))
    counts = {"train": sizes.train_people, "val": sizes.val_people, "test": sizes.test_people}
    vehicles = _vehicles(rng, sizes)
    numbers = iter(rng.sample(range(1, 90_000), 3 * (counts["train"] + counts["val"])))
    for split, people in counts.items():
        lines = _vehicle_lines(seed, split, vehicles[split], rng)
        names = (f"{n:06d}.jpg" for n in (numbers if split != "test" else iter(sorted(rng.sample(range(90_001, 100_000), 3 * people)))))
        lines += [line for i in range(people) for line in _person_lines(seed, split, i, [next(names) for _ in VIEWS])]
        _write_pictures(root / split / f"{split}_images", lines)
        if split == "test":
            _write_test(root / split, lines, rng)
        else:
            _write_text(root / split / f"{split}_label.txt", [f"{x.image}${x.attributes}${x.text}" for x in lines])


def _person_lines(seed: int, split: str, index: int, names: Sequence[str]) -> list[_Line]:
    """One person, photographed from each view in another place; each picture has a line of its own."""
    person = sample_person(np.random.default_rng(derive_seed(seed, "person", split, index)))
    lines = []
    for name, view in zip(names, VIEWS, strict=True):
        source = derive_seed(seed, "pedestrian", split, index, view)
        draw = np.random.default_rng(source)
        height, width = PEDESTRIAN_SIZE_PX
        render = render_person(person, draw, height=height, width=width, view=view, background=None, occlusion=bool(draw.random() < 0.1))
        bits = tuple(bits21(person, view))
        lines.append(_Line(name, ",".join(map(str, bits)), write_pedestrian(bits, Random(source)), bits, surveillance(render.image, draw)))
    return lines


def _vehicles(rng: Random, sizes: MiniatureSizes) -> dict[str, list[tuple[Vehicle, VehicleTag]]]:
    """Disjoint identities and their tags. Train takes distinct colour + brand pairs; val and test take named ones with another type."""
    pairs = rng.sample([(colour, brand) for colour in COLOURS for brand in BRANDS], sizes.train_vehicles)
    kinds = _kinds(sizes.train_vehicles)
    types = {kind: cycle(TYPES) for kind in TAG_KINDS}  # one cycle each, so that type tags come to name all types
    train = [Vehicle(*pair, next(types[kind])) for pair, kind in zip(pairs, kinds, strict=True)]
    named = [vehicle for vehicle, kind in zip(train, kinds, strict=True) if kind == "colour brand"]
    chosen = rng.sample(named, sizes.val_vehicles + sizes.test_vehicles)
    others = [Vehicle(v.color, v.brand, rng.choice([t for t in TYPES if t != v.type])) for v in chosen]
    val, test = others[: sizes.val_vehicles], others[sizes.val_vehicles :]
    return {
        "train": [(v, _tag(v, kind)) for v, kind in zip(train, kinds, strict=True)],
        "val": [(v, _tag(v, kind)) for v, kind in zip(val, _kinds(len(val)), strict=True)],
        "test": [(v, _tag(v, "colour brand type")) for v in test],
    }


def _vehicle_lines(seed: int, split: str, vehicles: Sequence[tuple[Vehicle, VehicleTag]], rng: Random) -> list[_Line]:
    numbers = iter(sorted(rng.sample(range(10_000), len(vehicles) * IMAGES_PER_VEHICLE)))
    lines = []
    for index, (vehicle, tag) in enumerate(vehicles):
        for variant in range(IMAGES_PER_VEHICLE):
            source = derive_seed(seed, "vehicle", split, index, variant)
            draw = np.random.default_rng(source)
            picture = render_vehicle(vehicle, draw, *VEHICLE_SIZE_PX)
            stem = f"vehicle_{next(numbers):07d}" if split == "test" else "".join(rng.choices(ascii_lowercase, k=10))
            text = write_vehicle(tag, Random(source))
            lines.append(_Line(f"{stem}.jpg", str(tag), text, tag, picture if split == "train" else surveillance(picture, draw)))
    return lines


def _tag(vehicle: Vehicle, kind: str) -> VehicleTag:
    return VehicleTag(
        vehicle.color if "colour" in kind else None, vehicle.brand if "brand" in kind else None, vehicle.type if "type" in kind else None
    )


def _write_pictures(folder: Path, lines: Sequence[_Line]) -> None:
    folder.mkdir(parents=True)
    for line in lines:
        _, packed = cv2.imencode(".jpg", line.picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (folder / line.image).write_bytes(packed.tobytes())


def _write_test(folder: Path, lines: Sequence[_Line], rng: Random) -> None:
    vehicles = [line for line in lines if isinstance(line.key, VehicleTag)]
    people = [line for line in lines if not isinstance(line.key, VehicleTag)]
    queries = rng.sample(vehicles, len(vehicles)) + rng.sample(people, len(people))
    _write_text(folder / "test_text.txt", [query.text for query in queries])
    _write_text(
        folder / "test_gt.txt", ["$".join([query.text, *(x.image for x in lines if _answers(query.key, x.key))]) for query in queries]
    )


def _answers(query: Any, image: Any) -> bool:
    if isinstance(query, VehicleTag) or isinstance(image, VehicleTag):
        return bool(query == image)
    return includes(query, image)


def _write_text(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _size_options(function: Callable[..., None]) -> Callable[..., None]:
    for size in reversed(fields(MiniatureSizes)):
        function = click.option(f"--{size.name.replace('_', '-')}", default=size.default, show_default=True, help="Identities.")(function)
    return function


@click.command("miniature")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to make; must not hold anything else.")
@click.option("--seed", default=0, show_default=True)
@_size_options
def command(out: Path, seed: int, **sizes: int) -> None:
    """Draw the challenge miniature: pictures, label files, queries and answers in the organisers' format. Three pictures an identity."""
    made = make_miniature(out, seed, MiniatureSizes(**sizes))
    click.echo(json.dumps({"folder": str(out), "made": made, "seed": seed, "sizes": sizes}))
