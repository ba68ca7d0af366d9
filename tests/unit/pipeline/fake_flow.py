"""A stand-in for `python -m generation`: same command line, same files, no models. Run it with `-m tests.unit.pipeline.fake_flow`.

Its config: run {name, folder, seed, unit_size}, num_units, salt {stage: any}, trouble {stage: fail|refuse|lie|hang}, delay_s, pids.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import yaml

from pipeline import graph
from pipeline.completion import input_digest, units_of_task
from pipeline.config import apply_overrides, read_yaml
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ConfigError, StageError
from pipeline.contracts.manifest import Counts, ShardManifest
from pipeline.contracts.sample import SCHEMA_VERSION, SampleMeta, encode_meta, make_key
from pipeline.contracts.stage import Drop, Fail, Item, Keep
from pipeline.fileio import digest, sha256_file, write_json
from pipeline.fused import FusedReport, Link, run_fused
from pipeline.inputs import UnitInput, chained_input, read_items
from pipeline.paths import RunPaths
from pipeline.runner import run_single, run_units
from pipeline.tables import read_rows, write_rows
from pipeline.tars import read_tar, write_tar
from pipeline.unit_files import ledger_rows
from pipeline.unit_list import parse_units

PNG = b"\x89PNG\r\n\x1a\n"
GREY_PIXEL = base64.b64decode(  # the smallest whole JPEG
    "/9j/2wBDAP//////////////////////////////////////////////////////////////////////////////////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAA"
    "AP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AP//Z"
)


def jpeg_with(comment: bytes) -> bytes:
    """A JPEG that decodes, different for different comments."""
    return GREY_PIXEL[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + GREY_PIXEL[2:]


class FakeStage:
    """Pictures are hashes of their keys; `filter` drops each fifth key and fails on each seventh."""

    batch_size = 3

    def __init__(self, name: str, delay_s: float = 0.0) -> None:
        self.name = name
        spec = graph.find(name)
        self.reads_images = spec.images_from is not None
        self.writes_images = spec.writes_images
        self.delay_s = delay_s
        self.num_setups = self.num_teardowns = 0

    def setup(self) -> None:
        self.num_setups += 1

    def teardown(self) -> None:
        self.num_teardowns += 1

    def process(self, batch):
        time.sleep(self.delay_s)
        return [self.one(item) for item in batch]

    def one(self, item: Item):
        number = int(item.key[:9])
        if self.name == "generate":
            return Keep({"seed": number * 7}, PNG + hashlib.sha256(item.key.encode()).digest() * 40)
        if self.name == "filter" and number % 5 == 4:
            return Drop("blank_image", {"measures": {"blur": number / 3}})
        if self.name == "filter" and number % 7 == 6:
            return Fail("unreadable_image", "made up")
        if self.name == "recrop":
            return Keep({"crop_xyxy_px": [0, 0, number + 1, 9]}, jpeg_with(item.image[8:]))
        fields = {"filter": {"measures": {"blur": number / 3}}, "caption": {"caption": f"person {number}"}}
        return Keep(fields.get(self.name, {"labels": [-1] * 27}))


def make_prompts(paths: RunPaths, num_prompts: int):
    rows = [{"key": make_key(i, 0), "status": "kept", "reason": None, "prompt": f"prompt {i}"} for i in range(num_prompts)]
    files = [paths.units("prompts", 0, "parquet"), paths.ledger("prompts", 0)]
    write_rows(files[0], rows)
    write_rows(files[1], ledger_rows(rows))
    return Counts(seen=num_prompts, kept=num_prompts, dropped=0, failed=0), files


def generate_input(paths: RunPaths, unit_size: int):
    def inputs(unit: int) -> UnitInput:
        rows = read_rows(paths.units("prompts", 0, "parquet"))[unit * unit_size : (unit + 1) * unit_size]
        return UnitInput([Item(row["key"], row) for row in rows], input_digest(paths, [("prompts", 0)]))

    return inputs


def make_shards(paths: RunPaths, num_units: int, config_digest: str):
    folder = paths.stage("shard")
    items = [item for unit in range(num_units) for item in read_items(paths, "annotate", "recrop", unit, True)]
    rows, index, shards = [], [], {}
    for split, chosen in (("train", items[2:]), ("val", items[:2])):
        path = folder / f"{split}-000000.tar"
        write_tar(path, [m for item in chosen for m in ((f"{item.key}.jpg", item.image), (f"{item.key}.json", encode_meta(meta_of(item))))])
        members = list(read_tar(path))
        for image, meta in zip(members[::2], members[1::2], strict=True):
            key = image.name[:-4]
            sha = hashlib.sha256(image.data + meta.data).hexdigest()
            values = (key, split, path.name, image.offset, len(image.data), meta.offset, len(meta.data), sha)
            names = ("key", "split", "shard", "image_offset", "image_bytes", "meta_offset", "meta_bytes", "sha256")
            index.append(dict(zip(names, values, strict=True)))
            rows.append({"key": key, "status": "kept", "reason": None})
        shards[path.name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size, "samples": len(chosen)}
    counts = Counts(seen=len(items), kept=len(items), dropped=0, failed=0)
    write_rows(folder / "index.parquet", index)
    write_rows(paths.ledger("shard", 0), sorted(rows, key=lambda row: row["key"]))
    manifest = ShardManifest(
        schema=SCHEMA_VERSION,
        split_counts={"train": len(items) - 2, "val": 2},
        counts=counts,
        shards=shards,
        config_digest=config_digest,
        attribute_space=PERSON_27.to_json(),
        code_version="test",
    )
    write_json(folder / "manifest.json", manifest.to_json())
    return counts, [*(folder / name for name in shards), folder / "index.parquet", folder / "manifest.json", paths.ledger("shard", 0)]


def meta_of(item: Item) -> SampleMeta:
    row = item.row
    return SampleMeta(
        key=item.key,
        caption=row["caption"],
        captions=[row["caption"]],
        prompt=row["prompt"],
        attributes=PERSON_27.to_named(row["labels"]),
        labels=row["labels"],
        pid=int(item.key[:9]),
        view=None,
        seed=row["seed"],
        crop_xyxy_px=row["crop_xyxy_px"],
        measures=row["measures"],
        generator={"model": "fake"},
        captioner={"model": "fake"},
        licence="CC0-1.0",
        source="test",
    )


def stage_digests(config) -> dict[str, str]:
    result, before = {}, digest([config["num_units"], config["run"]["unit_size"]])
    for spec in graph.STAGES:
        before = result[spec.name] = digest([before, config.get("salt", {}).get(spec.name)])
    return result


def run_stage(config, name: str, task: int = 0, num_tasks: int = 1, units=None):
    """One stage of a fake run, in this process; "fused" is all of the chain."""
    if name == graph.FUSED:
        return run_chain(config, units)
    paths = RunPaths(Path(config["run"]["folder"]))
    num_units, unit_size, digests = config["num_units"], config["run"]["unit_size"], stage_digests(config)
    spec = graph.find(name)
    if spec.kind == "single":
        make = {
            "prompts": lambda: make_prompts(paths, num_units * unit_size),
            "shard": lambda: make_shards(paths, num_units, digests["shard"]),
        }
        source = input_digest(paths, graph.sources(spec, 0, num_units))
        return run_single(name, paths, config_digest=digests[name], input_digest=source, make=make[name])
    chained = chained_input(paths, spec.rows_from, spec.images_from, spec.images_from is not None)
    inputs = generate_input(paths, unit_size) if name == "generate" else chained
    chosen = units_of_task(num_units, task, num_tasks) if units is None else units
    return run_units(FakeStage(name, config.get("delay_s", 0.0)), paths, chosen, config_digest=digests[name], inputs=inputs)


def run_chain(config, units=None, **options) -> FusedReport:
    """All stages from generate to annotate at once, in this process."""
    paths = RunPaths(Path(config["run"]["folder"]))
    digests, links = stage_digests(config), []
    for spec in graph.CHAIN:
        chained = chained_input(paths, spec.rows_from, spec.images_from, spec.images_from is not None)
        inputs = generate_input(paths, config["run"]["unit_size"]) if spec.name == "generate" else chained
        links.append(Link(FakeStage(spec.name, config.get("delay_s", 0.0)), digests[spec.name], inputs))
    return run_fused(links, paths, range(config["num_units"]) if units is None else units, **options)


def write_config(folder: Path, **changes) -> Path:
    """A recipe of 4 units of 6 pictures, whose run lies in folder/run."""
    run = {"name": "fake", "folder": str(folder / "run"), "seed": 1, "unit_size": 6}
    batches = {"generate": {"batch_size": 16}, "caption": {"batch_size": 32}}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"run": run, "num_units": 4, **batches, **changes}, sort_keys=False))
    return path


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file of a run with its bytes, less what may differ between two runs: logs, lock, jobs, and the seconds in done records."""
    result = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if name.startswith(("logs/", "slurm/")) or name in (".lock", "config.yaml"):
            continue
        data = path.read_bytes()
        if "/done/" in name:
            data = json.dumps({k: v for k, v in json.loads(data).items() if k != "seconds"}).encode()
        result[name] = data
    return result


def make_trouble(kind: str | None) -> None:
    if kind == "refuse":
        raise ConfigError("caption.model='nowhere'; accepted: a folder")
    if kind == "fail":
        raise StageError("the model does not load")
    if kind == "die":
        os.kill(os.getpid(), 9)
    if kind == "lie":
        raise SystemExit(0)
    if kind == "hang":
        time.sleep(60)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--num-tasks", type=int, default=1)
    parser.add_argument("--units")
    arguments = parser.parse_args()
    try:
        config = apply_overrides(read_yaml(arguments.config), arguments.set)
        if arguments.stage == "describe":
            if config.get("bad"):
                raise ConfigError(f"{arguments.config}: unknown key bad; did you mean run?")
            run = {"folder": config["run"]["folder"], "num_units": config["num_units"], "num_images": config["num_units"] * 6}
            stages = [{"name": name, "digest": value} for name, value in stage_digests(config).items()]
            print(json.dumps({"config": config, "run": run, "stages": stages}))
            return 0
        if config.get("pids"):
            Path(config["pids"], str(os.getpid())).touch()
        make_trouble(config.get("trouble", {}).get(arguments.stage))
        units = None if arguments.units is None else parse_units(arguments.units, config["num_units"])
        run_stage(config, arguments.stage, arguments.task, arguments.num_tasks, units)
    except (ConfigError, StageError) as err:
        print(f"{type(err).__name__}: {err}", file=sys.stderr)
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
