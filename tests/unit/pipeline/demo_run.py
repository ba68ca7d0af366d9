"""A finished demo folder, made with the project's own writers and fake stages: what the report and its numbers are tested on."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.manifest import Counts, ShardManifest
from pipeline.contracts.sample import make_key
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome
from pipeline.demo.layout import GROUPS, DemoPaths
from pipeline.demo.training import OBJECTIVES, SCORES
from pipeline.fileio import sha256_file, write_json
from pipeline.inputs import UnitInput, chained_input
from pipeline.paths import RunPaths
from pipeline.runner import run_single, run_units
from pipeline.tables import read_rows, write_rows
from pipeline.tars import read_tar, write_tar
from pipeline.unit_files import ledger_rows

UNITS, UNIT_SIZE = 2, 10
IMAGES = UNITS * UNIT_SIZE
DIGEST = "0123456789abcdef"
STEPS = ("generation", "miniature", "pretrain", "finetune-pretrained", "submission")
SEEDS = (0, 1, 2)
KEPT = 13  # of 20: one fails, four dropped by the filter, one by its caption, one as a duplicate


def picture(number: int, extension: str = ".jpg") -> bytes:
    """A plain picture whose colour depends on its number, 32 px high, 16 px wide."""
    image = np.full((32, 16, 3), (number * 37 % 256, number * 91 % 256, 120), np.uint8)
    return cv2.imencode(extension, image)[1].tobytes()


@dataclass
class FakeStage:
    """Decides by a function; everything else as the runner wants it."""

    name: str
    decide: Callable[[Item], Outcome]
    reads_images: bool = True
    writes_images: bool = False
    batch_size: int = 4

    def setup(self) -> None: ...

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        return [self.decide(item) for item in batch]

    def teardown(self) -> None: ...


def index_of(item: Item) -> int:
    return int(item.key[:9])


def generate(item: Item) -> Outcome:
    if index_of(item) == 19:
        return Fail("worker_died")
    return Keep({"seed": index_of(item)}, picture(index_of(item), ".png"))


def judge(item: Item) -> Outcome:
    measures = {"entropy_bits": 5.25, "num_persons": 1.0}
    reason = {2: "no_person", 5: "no_person", 7: "several_persons", 12: "no_person"}.get(index_of(item))
    return Drop(reason, {"measures": measures}) if reason else Keep({"measures": measures})


def describe(item: Item) -> Outcome:
    words = "a man wearing a black shirt & <b>blue</b> trousers"
    return Drop("no_clothing", {"caption": "a a a"}) if index_of(item) == 3 else Keep({"caption": words, "captions": [words]})


def annotate(item: Item) -> Outcome:
    return Keep({"attributes": {"gender": 1, "upper_black": 0, "lower_blue": 0, "upper_white": 1}})


def make_run(root: Path) -> RunPaths:
    """A generation run of 20 pictures in 2 units."""
    paths = RunPaths(root)
    prompts = [
        {"key": make_key(i, 0), "status": "kept", "reason": None, "prompt_index": i, "prompt": f"a man in a black shirt, number {i}"}
        for i in range(IMAGES)
    ]

    def make_prompts() -> tuple[Counts, list[Path]]:
        files = [paths.units("prompts", 0, "parquet"), paths.ledger("prompts", 0)]
        write_rows(files[0], prompts)
        write_rows(files[1], ledger_rows(prompts))
        return Counts(seen=IMAGES, kept=IMAGES, dropped=0, failed=0), files

    run_single("prompts", paths, config_digest=DIGEST, input_digest="", make=make_prompts)

    def prompts_of(unit: int) -> UnitInput:
        return UnitInput([Item(row["key"], row) for row in prompts[unit * UNIT_SIZE : (unit + 1) * UNIT_SIZE]], DIGEST)

    run_units(FakeStage("generate", generate, False, True), paths, range(UNITS), config_digest=DIGEST, inputs=prompts_of)
    for stage, rows, images in (
        (FakeStage("filter", judge), "generate", "generate"),
        (
            FakeStage("recrop", lambda item: Keep({"crop_xyxy_px": [0, 0, 16, 32]}, picture(index_of(item))), writes_images=True),
            "filter",
            "generate",
        ),
        (FakeStage("caption", describe), "recrop", "recrop"),
        (FakeStage("annotate", annotate, False), "caption", None),
    ):
        run_units(stage, paths, range(UNITS), config_digest=DIGEST, inputs=chained_input(paths, rows, images, stage.reads_images))
    run_single("shard", paths, config_digest=DIGEST, input_digest="", make=lambda: make_shards(paths))
    return paths


def make_shards(paths: RunPaths) -> tuple[Counts, list[Path]]:
    rows = [row for unit in range(UNITS) for row in read_rows(paths.units("annotate", unit, "parquet")) if row["status"] == "kept"]
    ledger = [
        {"key": row["key"], "status": "dropped" if i == 4 else "kept", "reason": "duplicate" if i == 4 else None}
        for i, row in enumerate(rows)
    ]
    kept = [row["key"] for row in ledger if row["status"] == "kept"]
    folder = paths.stage("shard")
    write_tar(folder / "train-000000.tar", _members(kept))
    index = [
        {"key": m.name[:12], "split": "train", "shard": "train-000000.tar", "image_offset": m.offset, "image_bytes": len(m.data)}
        for m in read_tar(folder / "train-000000.tar")
        if m.name.endswith(".jpg")
    ]
    write_rows(folder / "index.parquet", index)
    counts = Counts(seen=len(rows), kept=len(kept), dropped=1, failed=0, reasons={"duplicate": 1})
    shard = {
        "sha256": sha256_file(folder / "train-000000.tar"),
        "bytes": (folder / "train-000000.tar").stat().st_size,
        "samples": len(kept),
    }
    manifest = ShardManifest(
        schema=1,
        split_counts={"train": len(kept), "val": 0},
        counts=counts,
        shards={"train-000000.tar": shard},
        config_digest=DIGEST,
        attribute_space=PERSON_27.to_json(),
        code_version="0",
    )
    write_json(folder / "manifest.json", manifest.to_json())
    write_rows(paths.ledger("shard", 0), ledger)
    return counts, [paths.ledger("shard", 0)]


def _members(keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for key in keys:
        yield f"{key}.jpg", picture(int(key[:9]))
        yield f"{key}.json", b"{}"


def make_demo(root: Path) -> DemoPaths:
    """A whole demo folder: the run, trainings with falling losses, three seeds of each group, a submission of six queries."""
    paths = DemoPaths(root)
    make_run(paths.generation)
    _make_pretraining(paths.pretrain)
    for group, recall in zip(GROUPS, (0.6, 0.4), strict=True):
        values = [recall + 0.01 * seed for seed in SEEDS]
        scores = {name: {"mean": recall + 0.01, "std": 0.01, "values": values} for name in SCORES}
        kinds = dict.fromkeys(("all", "pedestrian", "vehicle"), scores)
        write_json(paths.finetune(group) / "seeds.json", {"seeds": list(SEEDS), "test": kinds})
    _make_submission(paths)
    for number, step in enumerate(STEPS):
        write_json(paths.record(step), {"digest": DIGEST, "seconds": 10.5 + number, "resumed": step == "pretrain"})
    return paths


def _make_pretraining(folder: Path) -> None:
    losses = {name: {"first": 2.0, "last": 1.0} for name in OBJECTIVES}
    write_json(folder / "summary.json", {"losses": losses})
    lines = [json.dumps({"step": step, **{f"train/{name}": 2.0 - step / 40 for name in OBJECTIVES}}) for step in range(1, 41)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def _make_submission(paths: DemoPaths) -> None:
    images = paths.miniature / "test" / "test_images"
    images.mkdir(parents=True)
    names = [f"{number:06d}.jpg" for number in range(10)]
    for number, name in enumerate(names):
        (images / name).write_bytes(picture(number))
    texts = [f"query <{number}>" for number in range(6)]
    write_json(paths.submission, {"results": [{"text": text, "image_names": names} for text in texts]})
    (paths.miniature / "test" / "test_gt.txt").write_text("".join(f"{text}${names[1]}${names[3]}\n" for text in texts))
    write_json(paths.submission_score, {"official": 0.41666, "map@10": 0.5, "recall@1": 0.0, "recall@5": 1.0, "recall@10": 1.0})
