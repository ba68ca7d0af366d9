"""`stats`, `report` and the index at the size of MALS: time and memory on a made-up run of N rows (no pictures).

    python benchmarks/run_size.py [N] [stats|report]        default 1,500,000 and both

The run is written once (captions all different; measures and labels of one unit repeated), then each command opens it in its own process.
The run is written by a process of its own too, because Linux charges a process with the peak of the one that started it.
"""

import json
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.manifest import Counts, DoneRecord, ShardManifest
from pipeline.contracts.sample import SCHEMA_VERSION, make_key
from pipeline.fileio import write_json
from pipeline.paths import INDEX_FILE, MANIFEST_FILE, RunPaths
from pipeline.tables import write_rows

UNIT = 256
MEASURES = [f"measure_{i}" for i in range(30)]  # as many as the filter stores
WORDS = ("man", "woman", "red", "blue", "shirt", "jeans", "hat", "bag", "black", "walking", "wearing", "with", "a", "in", "and")


def main() -> None:
    num_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_500_000
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        writer = multiprocessing.get_context("spawn").Process(target=make_run, args=(RunPaths(Path(folder)), num_rows))
        writer.start()
        writer.join()
        if writer.exitcode:
            sys.exit("the run could not be written")
        print(f"{num_rows} rows written in {time.perf_counter() - started:.0f} s")
        for command in (["stats", folder, "--json"], ["report", folder, "--samples", "0"]):
            if command[0] in (sys.argv[2:] or command):
                measure(command)


PROGRAM = """
import resource, sys
from pipeline.cli import passerby
from pipeline.entry import call

code = call(passerby, sys.argv[1:], "passerby")
usage = resource.getrusage(resource.RUSAGE_SELF)
sys.stderr.write(f"{usage.ru_utime + usage.ru_stime:.1f} {usage.ru_maxrss / 1024:.0f}")
sys.exit(code)
"""


def measure(arguments: list[str]) -> None:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    cpu, memory = done.stderr.split()[-2:]
    print(f"{arguments[0]}: {time.perf_counter() - started:.1f} s by the clock, {cpu} s of one core, {memory} MB at most", flush=True)
    if done.returncode:
        sys.exit(done.stderr)


def make_run(paths: RunPaths, num_rows: int) -> None:
    rng = random.Random(0)
    num_units = -(-num_rows // UNIT)
    keys = [make_key(i, 0) for i in range(UNIT)]
    ledger = [{"key": key, "status": "kept", "reason": None} for key in keys]
    repeated = {
        "filter": [{**row, "measures": {name: rng.gauss(10, 3) for name in MEASURES}} for row in ledger],
        "annotate": [{**row, "labels": [rng.choice((-1, 0, 1)) for _ in PERSON_27.names]} for row in ledger],
    }
    for stage, rows in repeated.items():
        first = paths.units(stage, 0, "parquet")
        write_rows(first, rows)
        for unit in range(1, num_units):
            os.link(first, paths.units(stage, unit, "parquet"))
    for unit in range(num_units):
        prefix = " ".join(rng.choices(WORDS, k=18))
        rows = [{**row, "caption": f"{prefix} {unit} {i}", "prompt": f"prompt {unit} {i}"} for i, row in enumerate(ledger)]
        write_rows(paths.units("caption", unit, "parquet"), [{**row, "source": "s", "licence": "l"} for row in rows])
    counts = Counts(seen=UNIT, kept=UNIT, dropped=0, failed=0)
    for stage in ("filter", "annotate", "caption"):
        for unit in range(num_units):
            mark(paths, stage, unit, counts)
    make_index(paths, num_units * UNIT)


def make_index(paths: RunPaths, num_rows: int) -> None:
    names = [f"train-{i:06d}.tar" for i in range(-(-num_rows // 1000))]
    columns = {"split": "train", "image_offset": 512, "image_bytes": 20000, "meta_offset": 21504, "meta_bytes": 2000}
    rows = [{"key": make_key(i, 0), **columns, "shard": names[i // 1000], "sha256": f"{i:064d}"} for i in range(num_rows)]
    write_rows(paths.stage("shard") / INDEX_FILE, rows)
    write_rows(paths.ledger("shard", 0), [{"key": row["key"], "status": "kept", "reason": None} for row in rows])
    counts = Counts(seen=num_rows, kept=num_rows, dropped=0, failed=0)
    shards = {name: {"sha256": "0", "bytes": 23_000_000, "samples": 1000} for name in names}
    manifest = ShardManifest(
        schema=SCHEMA_VERSION,
        split_counts={"train": num_rows},
        counts=counts,
        shards=shards,
        config_digest="c",
        attribute_space=PERSON_27.to_json(),
        code_version="v",
    )
    write_json(paths.stage("shard") / MANIFEST_FILE, manifest.to_json())
    mark(paths, "shard", 0, counts)


def mark(paths: RunPaths, stage: str, unit: int, counts: Counts) -> None:
    record = DoneRecord(stage=stage, unit=unit, config_digest="c", input_digest="i", counts=counts, seconds=1, files={}, code_version="v")
    path = paths.done(stage, unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record.to_json()))  # plain: a made-up run need not survive a kill


if __name__ == "__main__":
    main()
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")
