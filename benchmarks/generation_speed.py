"""Generation three ways on the embedded models, one after the other in one run: `python benchmarks/generation_speed.py [--images 192]`.

- staged: `passerby run` with its default workers, one stage after the other;
- fused: the same with run.execution=fused; files are compared byte by byte;
- the same as one task of a job array has it: the stage commands one after the other, one process each, against one fused command, all
  with the environment that array tasks give them (one OpenMP thread a process; files must be the same then); and the stage commands once
  more with as many threads as torch takes by itself, which is the most that they can make of the cores;
- naive: what research scripts do: a loop over the plain diffusers pipeline, one prompt at a time (same steps, guidance and seed of each
  image), PNG to disk, MediaPipe in the loop, BLIP one picture at a time; torch keeps its own number of threads and memory layout. It makes
  the first --naive-images only, before all others and once more after them, because machines have fast and slow minutes; which of them it
  keeps is compared.

All begin with the start of a process, so that loading counts. Recipe: configs/generation/demo.yaml. Needs an idle machine: `load` and
`stolen` (time that a virtual machine's host gave to others) beside each figure say whether it was one. CPU seconds are those of all
processes, and say more on a busy machine.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine

from pipeline.paths import set_path

ROOT = Path(__file__).parents[1]
NAIVE = Path(__file__).with_name("naive_generation.py")
RECIPE = ROOT / "configs" / "generation" / "demo.yaml"


@dataclass(frozen=True)
class Timing:
    """wall, cpu: seconds of a process and its children. load: of the machine, before and after. stolen: share of the machine's time."""

    wall: float
    cpu: float
    load: tuple[float, float]
    stolen: float

    def line(self, name: str, images: int) -> str:
        rate, busy = images / self.wall, self.cpu / images
        loads = f"load {self.load[0]:.1f} to {self.load[1]:.1f}, stolen {self.stolen:.1%}"
        return f"{name:<8} {images:4d} images {self.wall:7.1f} s {rate:6.2f} images/s   {busy:.2f} CPU s an image   {loads}"


def timed(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Timing:
    """Run a command; ends the benchmark with the command's last lines if it fails. env: None: ours, with torch's own number of threads."""
    env = own_threads(os.environ) if env is None else env
    before, load, started = resource.getrusage(resource.RUSAGE_CHILDREN), os.getloadavg()[0], time.perf_counter()
    stolen_before, total_before = stolen_ticks()
    with open(log, "wb") as output:
        done = subprocess.run(list(argv), cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT, check=False)  # noqa: S603 -- no shell
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    stolen, total = stolen_ticks()
    share = (stolen - stolen_before) / max(total - total_before, 1)
    return Timing(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, (load, os.getloadavg()[0]), share)


def stolen_ticks() -> tuple[int, int]:
    """Of all cores since the machine's start: ticks that its host gave to others, and all ticks. Zeros where /proc does not tell."""
    try:
        ticks = [int(part) for part in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0, 0
    return ticks[7], sum(ticks)


def own_threads(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != "OMP_NUM_THREADS"}


def flow(folder: Path, execution: str, images: int, settings: Sequence[str]) -> Timing:
    argv = [sys.executable, "-m", "pipeline", "run", str(RECIPE)]
    for item in (set_path("run.folder", folder), f"run.execution={execution}", f"prompts.num_prompts={images}", *settings):
        argv += ["--set", item]
    return timed(argv, folder.with_suffix(".log"))


def task(folder: Path, commands: Sequence[str], images: int, settings: Sequence[str], env: Mapping[str, str]) -> Timing:
    """One task with the whole machine: each command makes all units in one process. Prompts are made before, in no time."""
    from pipeline.describe import describe
    from pipeline.local import write_config

    plan = describe(RECIPE, [set_path("run.folder", folder), f"prompts.num_prompts={images}", *settings])
    write_config(plan)
    worker = [sys.executable, "-m", "generation"]
    timings = []
    for command in ("prompts", *commands):
        units = "0" if command == "prompts" else f"0-{plan.num_units - 1}"
        timings.append(
            timed([*worker, command, "--config", str(plan.paths.config), "--units", units], folder.with_suffix(f".{command}.log"), env)
        )
    made = timings[1:]
    return joined(made)


def joined(timings: Sequence[Timing]) -> Timing:
    """Of processes that ran one after the other."""
    wall = sum(t.wall for t in timings)
    stolen = sum(t.stolen * t.wall for t in timings) / wall
    return Timing(wall, sum(t.cpu for t in timings), (timings[0].load[0], timings[-1].load[1]), stolen)


def compare(one: Path, other: Path) -> str:
    """Whether two runs have the same files with the same bytes; the seconds in done records may differ."""
    found = []
    for root in (one, other):
        files: dict[str, bytes] = {}
        for path in sorted(p for p in root.rglob("*") if p.is_file() and p.name not in ("config.yaml", ".lock")):
            name = path.relative_to(root).as_posix()
            if not name.startswith("logs/"):
                data = path.read_bytes()
                files[name] = json.dumps(json.loads(data) | {"seconds": 0}).encode() if "/done/" in name else data
        found.append(files)
    different = [name for name in found[0].keys() | found[1].keys() if found[0].get(name) != found[1].get(name)]
    return f"{len(found[0])} files, {len(different)} differ" + (f": {', '.join(sorted(different)[:5])}" if different else "")


def worker_answer(log: Path) -> dict[str, Any]:
    """What a fused worker has said at its end."""
    lines = log.read_text(errors="replace").splitlines()
    answer: dict[str, Any] = json.loads(next(line for line in reversed(lines) if line.startswith('{"stage": "fused"')))
    return answer


def shares(log: Path) -> list[str]:
    """Where the time of the fused worker went."""
    answer = worker_answer(log)
    total = answer["seconds"]
    text = [f"fused worker: {answer['setup_seconds']:.1f} s of loading, {total:.1f} s of work; each stage in its own thread(s):"]
    busy = sum(times["busy"] / times["lanes"] for times in answer["times"])
    for times in answer["times"]:
        own = total * times["lanes"]
        text.append(
            f"  {times['stage']:<9} {times['lanes']} lane(s): busy {times['busy'] / own:5.1%}, held by what follows "
            f"{times['held'] / own:5.1%}, {times['cpu']:6.1f} CPU s of its own, {times['busy'] / times['lanes'] / busy:5.1%} of all work"
        )
    return [*text, f"  overlap: {busy / total:.2f} stages at work at a time (1.00 is one after the other)"]


def kept(folder: Path, num_images: int) -> set[str]:
    from pipeline.paths import RunPaths
    from pipeline.tables import read_rows

    paths = RunPaths(folder)
    rows = [row for unit in paths.done_units("caption") for row in read_rows(paths.ledger("caption", unit))]
    return {row["key"] for row in rows if row["status"] == "kept" and int(row["key"][:9]) < num_images}


def pixels_apart(folder: Path, num_images: int) -> dict[str, tuple[int, int]]:
    """Of each of the first pictures: by how many grey levels at most the naive one differs, and in how many values."""
    from generation.images import decode_rgb
    from pipeline.paths import RunPaths
    from pipeline.tars import read_tar

    found = {}
    for tar in (RunPaths(folder / "fused").stage("generate") / "units").glob("*.tar"):
        for member in read_tar(tar):
            key = member.name.removesuffix(".png")
            if member.name.endswith(".png") and int(key[:9]) < num_images:
                other = decode_rgb((folder / "naive" / f"{key}.png").read_bytes())
                difference = abs(decode_rgb(member.data).astype(int) - other)
                found[key] = int(difference.max()), int((difference > 0).sum())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--naive-images", type=int, default=64, help="0: leave the naive way out.")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="A.B=C", help="Of the recipe, for all ways.")
    parser.add_argument("--folder", type=Path, help="Where the runs are made; default: a temporary folder.")
    given = parser.parse_args()
    print(machine("torch", "diffusers", "transformers", "mediapipe"), flush=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder, runs = Path(name), dict[str, Timing]()
        plain = [run_naive(folder, "naive", given)] if given.naive_images else []
        for execution in ("fused", "staged"):
            runs[execution] = flow(folder / execution, execution, given.images, given.settings)
            print(runs[execution].line(execution, given.images), flush=True)
        print(f"the two runs: {compare(folder / 'fused', folder / 'staged')}")
        print("\n".join(shares(folder / "fused" / "logs" / "fused-0000.log")))
        ratio, cpu = runs["staged"].wall / runs["fused"].wall, runs["staged"].cpu / runs["fused"].cpu
        print(f"fused against staged: {ratio:.2f} times the images/s, {cpu:.2f} times fewer CPU seconds", flush=True)
        runs["task"] = compare_tasks(folder, given)
        if plain:
            report_naive(folder, given, runs, [*plain, run_naive(folder, "naive-again", given)])


def compare_tasks(folder: Path, given: argparse.Namespace) -> Timing:
    """Prints; that of the fused task."""
    from pipeline.workers import worker_environment

    verbs = ("generate", "filter", "recrop", "caption", "annotate")
    env = worker_environment(None) | {"OMP_NUM_THREADS": "1"}  # whatever the shell of this benchmark says
    fused = task(folder / "task", ("fused",), given.images, given.settings, env)
    print(fused.line("1 fused", given.images), flush=True)
    for name, environment, said in (("stages", env, "as array tasks run them"), ("threads", own_threads(env), "with torch's own threads")):
        stages = task(folder / name, verbs, given.images, given.settings, environment)
        print(stages.line("5 stages", given.images))
        print(f"one task, fused against its stages one by one, {said}: {stages.wall / fused.wall:.2f} times the images/s", flush=True)
    print(f"one task fused and its stages, one thread each: {compare(folder / 'task', folder / 'stages')}", flush=True)
    return fused


@dataclass(frozen=True)
class NaiveRun:
    """start, loop: seconds of loading, and of the loop by image."""

    start: float
    loop: float
    kept: tuple[str, ...]


def run_naive(folder: Path, name: str, given: argparse.Namespace) -> NaiveRun:
    """Prints."""
    count = min(given.naive_images, given.images)
    argv = [sys.executable, str(NAIVE), str(folder / name), str(count), *given.settings]
    took = timed(argv, folder / f"{name}.log")
    answer = json.loads((folder / name / "kept.json").read_text())
    parts = ", ".join(f"{part} {seconds / count:.3f}" for part, seconds in answer["spent"].items())
    print(took.line("naive", count))
    loop = answer["loop_seconds"] / count
    print(f"  in the loop, seconds an image: {loop:.3f} ({parts}), torch with {answer['threads']} threads", flush=True)
    return NaiveRun(took.wall - answer["loop_seconds"], loop, tuple(answer["kept"]))


def report_naive(folder: Path, given: argparse.Namespace, runs: Mapping[str, Timing], plain: Sequence[NaiveRun]) -> None:
    count = min(given.naive_images, given.images)
    loop = sum(run.loop for run in plain) / len(plain)
    whole = sum(run.start for run in plain) / len(plain) + loop * given.images
    for name, said in (("task", "one fused task"), ("fused", "passerby run, which makes prompts and shards too")):
        times = whole / runs[name].wall
        print(f"{said}, against naive, {given.images} images with all loading (the naive loop scaled up): {times:.2f} times")
    logs = {"one fused task": folder / "task.fused.log", "fused in passerby run": folder / "fused" / "logs" / "fused-0000.log"}
    for said, log in logs.items():
        seconds = worker_answer(log)["seconds"] / given.images
        spread = ", ".join(f"{run.loop / seconds:.2f}" for run in plain)
        print(f"{said} against naive, without loading: {loop / seconds:.2f} times ({spread})")
    print(f"kept by the naive loop before and after: {len(plain[0].kept)} and {len(plain[1].kept)} of {count}")
    report_kept(folder, count, set(plain[0].kept))


def report_kept(folder: Path, count: int, theirs: set[str]) -> None:
    ours, apart = kept(folder / "fused", count), pixels_apart(folder, count)
    equal = {key for key, (most, _) in apart.items() if most == 0}
    print(f"kept of the first {count}: fused {len(ours)}, naive {len(theirs)}; by one only: {sorted(ours ^ theirs) or 'none'}")
    print(
        f"{len(equal)} of {len(apart)} pictures are equal, {len(equal - (ours ^ theirs))} of these are kept or dropped alike; the others "
        f"differ by at most {max((most for most, _ in apart.values()), default=0)} grey levels (batch and memory layout)"
    )
    for key in sorted(ours ^ theirs):
        print(f"  {key}: {apart[key][0]} grey levels in {apart[key][1]} values; pose can tip over from that")


if __name__ == "__main__":
    main()
