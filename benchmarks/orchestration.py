"""What it costs to plan, submit and watch 1.5 million images: `python benchmarks/orchestration.py [--units 5900] [--repeats 3]`.

Lays out the done records of a run at full size (real files of the real stage package's digests; the pictures themselves are empty files),
then times fresh `passerby` processes on it: plan, submit --dry-run, status on the whole run, a relaunch that finds 5,800 of 5,900 units
done, a run of which nothing is done, one with a prompt file of that many lines, and status after a night on Slurm (369 tasks a stage, each
with the record of its start and a log).
No Slurm is needed: its queue has forgotten everything. Wanted: 2 s each. Run it on an idle machine.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from machine import machine

from pipeline import graph
from pipeline.completion import records_digest
from pipeline.contracts.manifest import Counts, DoneRecord
from pipeline.describe import RunPlan, describe
from pipeline.local import write_config
from pipeline.paths import set_path
from pipeline.slurm import submission
from pipeline.slurm.attempts import Attempt, attempt_file
from pipeline.slurm.attempts import write as write_attempt
from pipeline.slurm.draft import draft
from pipeline.slurm.failures import START
from pipeline.slurm.flight import Flight
from pipeline.slurm.script import log_file, logs_folder
from pipeline.slurm.site import SiteConfig
from pipeline.survey import StageSurvey, survey

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "configs" / "generation" / "embedded.yaml"
UNIT_SIZE = 256


def describe_run(folder: Path, num_units: int, *more: str) -> RunPlan:
    settings = [set_path("run.folder", folder), f"run.unit_size={UNIT_SIZE}", f"prompts.num_prompts={num_units * UNIT_SIZE}"]
    plan = describe(RECIPE, [*settings, *more])
    assert plan.num_units == num_units
    return plan


def prompt_file(folder: Path, num_prompts: int) -> tuple[str, str]:
    """The settings of a recipe that reads so many sentences, each another one, of 130 bytes."""
    file = folder / "prompts.txt"
    rest = "a woman with long hair walks in a red shirt, blue jeans and white shoes; she carries a black bag in her left hand."
    file.write_text("".join(f"Picture {i}: {rest}\n" for i in range(num_prompts)), encoding="utf-8")
    return "prompts.kind=text", set_path("prompts.file", file)


def lay_out(plan: RunPlan, num_done: int) -> None:
    """Records of the first num_done units of every stage, and of the single stages: of `shard` only if all units are done."""
    counts = Counts(seen=UNIT_SIZE, kept=UNIT_SIZE - 20, dropped=20, failed=0, reasons={"no_person": 20})
    records: dict[tuple[str, int], DoneRecord] = {}
    write_config(plan)
    for spec in graph.STAGES:
        for part in ("done", "units", "ledger"):
            (plan.paths.stage(spec.name) / part).mkdir(parents=True, exist_ok=True)
        units = [u for u in plan.units(spec) if u < num_done] if spec.kind == "units" else list(plan.units(spec))
        if spec.name == "shard" and num_done < plan.num_units:
            continue
        for unit in units:
            records[spec.name, unit] = record = _record(plan, spec, unit, counts, records)
            for name in record.files:
                (plan.paths.root / name).touch()
            plan.paths.done(spec.name, unit).write_text(json.dumps(record.to_json(), indent=1) + "\n")


def _record(plan: RunPlan, spec: graph.StageSpec, unit: int, counts: Counts, records: dict[tuple[str, int], DoneRecord]) -> DoneRecord:
    extensions = ("tar", "parquet") if spec.writes_images else ("parquet",)
    files = [*(plan.paths.units(spec.name, unit, extension) for extension in extensions), plan.paths.ledger(spec.name, unit)]
    return DoneRecord(
        stage=spec.name,
        unit=unit,
        config_digest=plan.digests[spec.name],
        input_digest=records_digest(records[source] for source in plan.sources(spec, unit)),
        counts=counts,
        seconds=12.8,
        files={plan.paths.relative(file): f"{unit:064x}" for file in files},
        code_version="benchmark",
    )


def lay_out_night(plan: RunPlan, stages: Sequence[StageSurvey]) -> None:
    """What a submission of all units leaves behind. stages: of a run of the same size of which nothing is done."""
    sent = draft(plan, stages, SiteConfig(), Flight(frozenset(), {}, frozenset()), number=1, max_array_size=1001).submission
    sent.state = "submitted"
    home, logs = submission.folder(plan.paths, sent.number), logs_folder(plan.paths, sent.number)
    logs.mkdir(parents=True)
    for number, job in enumerate(sent.jobs):
        job.job_id = 1000 + number
        for element in range(job.size):
            units = sent.units(job, element)
            attempt = Attempt(job_id=f"{job.job_id}_{element}", node="n1", started=1.0, left=len(units), ended=200.0, outcome="done")
            write_attempt(attempt_file(home, job.name, element, 0), attempt)
            log_file(plan.paths, sent.number, job, element).write_text(f"{START} 1, job {job.name}, task {element}\n" + "a line\n" * 50)
    submission.write(plan.paths, sent)


@contextmanager
def no_queue(folder: Path) -> Iterator[None]:
    """A squeue that knows of nothing, in front of the real one if there is one."""
    tool, path = folder / "squeue", os.environ["PATH"]
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{path}"
    try:
        yield
    finally:
        os.environ["PATH"] = path


@contextmanager
def removed(plan: RunPlan, units: Sequence[int]) -> Iterator[None]:
    """Without the records of these units in any stage, and without the shards."""
    taken = [plan.paths.done(s.name, u) for s in graph.STAGES for u in (units if s.kind == "units" else [0] if s.name == "shard" else [])]
    for path in taken:
        path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        for path in taken:
            path.with_suffix(".away").rename(path)


def seconds(label: str, arguments: Sequence[str], repeats: int) -> None:
    """Wall and CPU times of a fresh `passerby`; the first, which fills the caches, apart. On a busy machine look at CPU only."""
    times, cpu = [], []
    for _ in range(repeats + 1):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(  # noqa: S603 -- argv list, no shell
            [sys.executable, "-m", "pipeline", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        times.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode != 0:
            sys.exit(f"passerby {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    first = f"first {times[0]:5.2f} s (CPU {cpu[0]:5.2f})"
    print(f"{label:<44} {first}   then median {statistics.median(times[1:]):5.2f} s (CPU {statistics.median(cpu[1:]):5.2f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=5900)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="Where the run is laid out (100,000 small files); default: a temporary folder.")
    given = parser.parse_args()
    print(f"{machine('orjson')}; load {os.getloadavg()[0]:.1f}")
    print(f"{given.units} units of {UNIT_SIZE} images: {given.units * UNIT_SIZE:,} images")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        new = describe_run(Path(name) / "new", given.units)
        write_config(new)
        run_folder = str(new.paths.root)
        seconds("plan, nothing done", ["plan", run_folder], given.repeats)
        seconds("submit --dry-run, nothing done", ["submit", run_folder, "--dry-run"], given.repeats)
        seconds("status, nothing done", ["status", run_folder], given.repeats)
        read = describe_run(Path(name) / "read", given.units, *prompt_file(Path(name), given.units * UNIT_SIZE))
        write_config(read)
        seconds("plan, prompts of a file (first: counted)", ["plan", str(read.paths.root)], given.repeats)
        whole = describe_run(Path(name) / "whole", given.units)
        lay_out(whole, given.units)
        run_folder = str(whole.paths.root)
        seconds("plan, all done", ["plan", run_folder], given.repeats)
        seconds("status, all done", ["status", run_folder], given.repeats)
        lost = list(range(0, given.units, max(1, given.units // 100)))[:100]
        with removed(whole, lost):
            label = f"{given.units - len(lost)} of {given.units} done"
            seconds(f"submit --dry-run, {label}", ["submit", run_folder, "--dry-run"], given.repeats)
            seconds(f"plan, {label}", ["plan", run_folder], given.repeats)
            seconds(f"status, {label}", ["status", run_folder], given.repeats)
            lay_out_night(whole, survey(new))
            with no_queue(Path(name)):
                seconds(f"status after a night, {label}", ["status", run_folder], given.repeats)
        shutil.rmtree(run_folder)


if __name__ == "__main__":
    main()
