"""Renders for training: pictures, labels and captions in chunks on disk, made once from a seed and read by every training.

Layout: FOLDER/chunk-0000.npy (N, 256, 128, 3) uint8 RGB and FOLDER/chunk-0000.jsonl, one record a picture. A chunk is a pure function of
(seed, chunk number), so several processes may make different chunks, and a lost one is made again alike.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from generation.embedded.render.labels import labels27
from generation.embedded.render.person import Person, sample_person
from generation.embedded.render.scene import VIEWS, render_person
from pipeline.fileio import atomic_open, write_bytes

HEIGHT, WIDTH, CHUNK_SIZE, CAPTIONS_PER_IMAGE = 256, 128, 1000, 4
PLAIN_SHARE = 0.3  # of the pictures; the others have any of the backgrounds
PLAIN_CLOTHES = {"upper_pattern": None, "long_coat": False, "holds_object": False}  # outside the 27 attributes: left out of these trainings
HELD_OUT_SHARE = 10  # one attribute combination in ten never enters a training


def is_held_out(labels: Sequence[int]) -> bool:
    """True for the combinations of the 27 labels that are kept for evaluation (a hash decides, so the rule needs no list)."""
    return hashlib.sha256(bytes(v + 1 for v in labels)).digest()[0] % HELD_OUT_SHARE == 0


def sample_training_person(rng: np.random.Generator) -> Person:
    """A person whose combination is not held out."""
    while is_held_out(labels27(person := sample_person(rng, **PLAIN_CLOTHES))):
        pass
    return person


def sample_held_out_person(rng: np.random.Generator) -> Person:
    """A person whose combination is in no training."""
    while not is_held_out(labels27(person := sample_person(rng, **PLAIN_CLOTHES))):
        pass
    return person


def make_chunk(folder: Path, number: int, seed: int) -> None:
    """Write chunk `number` unless it is there. The record file comes last: a chunk without it does not count."""
    records_path = folder / f"chunk-{number:04d}.jsonl"
    if records_path.exists():
        return
    images = np.empty((CHUNK_SIZE, HEIGHT, WIDTH, 3), np.uint8)
    records = []
    for i in range(CHUNK_SIZE):
        rng = np.random.default_rng((seed, number, i))
        person, view = sample_training_person(rng), str(rng.choice(VIEWS))
        background = "plain" if rng.random() < PLAIN_SHARE else None
        render = render_person(person, rng, height=HEIGHT, width=WIDTH, view=view, background=background)
        images[i] = render.image
        nose = [round(float(v), 1) for v in render.joints["nose"]]
        records.append(json.dumps({"person": asdict(person), "labels": list(render.labels), "view": view, "nose": nose}))
    with atomic_open(folder / f"chunk-{number:04d}.npy") as file:
        np.save(file, images)
    write_bytes(records_path, ("\n".join(records) + "\n").encode())


@dataclass(frozen=True)
class Corpus:
    """All pictures of some chunks, memory-mapped. records[i] describes picture i."""

    chunks: list[npt.NDArray[np.uint8]]
    records: list[dict[str, Any]]

    @classmethod
    def open(cls, folder: Path, num_chunks: int, seed: int) -> "Corpus":
        """Chunks 0..num_chunks-1, made now where they are missing."""
        chunks, records = [], []
        for number in range(num_chunks):
            make_chunk(folder, number, seed)
            chunks.append(np.load(folder / f"chunk-{number:04d}.npy", mmap_mode="r"))
            records += [json.loads(line) for line in (folder / f"chunk-{number:04d}.jsonl").read_text().splitlines()]
        return cls(chunks, records)

    def __len__(self) -> int:
        return len(self.records)

    def captions(self, seed: int) -> list[list[str]]:
        """CAPTIONS_PER_IMAGE sentences a picture; every other one states everything."""
        from generation.embedded.render.captions import caption

        result = []
        for i, record in enumerate(self.records):
            rng, person = np.random.default_rng((seed, i)), Person(**record["person"])
            result.append([caption(person, record["view"], rng, full=n % 2 == 0) for n in range(CAPTIONS_PER_IMAGE)])
        return result

    def images(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """(B, 256, 128, 3) uint8."""
        return np.stack([self.chunks[i // CHUNK_SIZE][i % CHUNK_SIZE] for i in indices])

    def small_images(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """(B, 128, 64, 3) uint8: the same pictures at half the size."""
        return np.stack([cv2.resize(image, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA) for image in self.images(indices)])
