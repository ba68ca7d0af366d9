"""`passerby demo`: the whole flow on the embedded models, small, then report.html and metrics.json."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config
from pipeline.contracts.errors import ContractError, StageError
from pipeline.demo.console import Display, duration
from pipeline.demo.execute import Step, is_done, run_step
from pipeline.demo.layout import DemoPaths
from pipeline.demo.settings import DemoSettings
from pipeline.demo.steps import build_steps
from pipeline.fileio import read_json, write_json
from pipeline.lock import run_lock
from pipeline.paths import RunPaths
from pipeline.version import code_version

if TYPE_CHECKING:
    from rich.console import Console

MADE_BY = "passerby demo"


def demo(out: Path, settings_file: Path | None, fresh: bool) -> None:
    """What `passerby demo` does. Raises ProjectError subclasses; nothing runs on in the background afterwards."""
    from rich.console import Console

    settings = config.load(DemoSettings, settings_file) if settings_file else DemoSettings()
    run_demo(DemoPaths(out), settings, fresh, Console(soft_wrap=True))


def run_demo(paths: DemoPaths, settings: DemoSettings, fresh: bool, console: "Console") -> None:
    """Run what is not done yet, then collect and print."""
    settings.check()
    claim_folder(paths)
    with run_lock(RunPaths(paths.root)), _stoppable():
        if fresh:
            empty_folder(paths)
        steps = build_steps(paths, settings)
        todo = [step for step in steps if not is_done(paths, step)]
        _run_steps(paths, steps, todo, console)
        metrics = _finish(paths, steps, bool(todo))
    _print_table(console, paths, metrics)


def claim_folder(paths: DemoPaths) -> None:
    """Mark an absent or empty folder as the demo's.

    Raises ContractError for a folder that holds anything and was not made by a demo: it is neither written to nor emptied.
    """
    if paths.marker.is_file():
        marker = read_json(paths.marker)
        if isinstance(marker, dict) and marker.get("made_by") == MADE_BY:
            return
    if paths.root.exists() and any(paths.root.iterdir()):
        raise ContractError(f"{paths.root} holds files that no demo made; choose another folder with --out, or an empty one")
    write_json(paths.marker, {"made_by": MADE_BY, "code_version": code_version()})


def empty_folder(paths: DemoPaths) -> None:
    """Remove everything from a claimed folder but its marker and the lock that we hold. Links are removed, not followed."""
    kept = (paths.marker, RunPaths(paths.root).lock)
    for path in paths.root.iterdir():
        if path in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Being asked to end works like Ctrl-C: children are ended first, what is done stays done."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt as err:
        raise StageError("stopped; the same command goes on from here") from err
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_steps(paths: DemoPaths, steps: list[Step], todo: list[Step], console: "Console") -> None:
    with Display(console, steps, todo) as display:
        for step in steps:
            if step not in todo:
                display.skip(step)
                continue
            display.begin(step)
            display.end(step, run_step(paths, step, partial(display.update, step)))


def _finish(paths: DemoPaths, steps: list[Step], changed: bool) -> dict[str, Any]:
    """Write metrics.json and report.html if something ran or one of them is missing; metrics.json last. Returns the metrics."""
    if not changed and paths.report.exists() and paths.metrics.exists():
        return read_json(paths.metrics)
    from pipeline.demo.collect import collect
    from pipeline.demo.report import write_report

    data = collect(paths, [step.name for step in steps])
    write_report(paths.report, data)
    write_json(paths.metrics, data.metrics)
    return data.metrics


def _print_table(console: "Console", paths: DemoPaths, metrics: dict[str, Any]) -> None:
    from rich.table import Table

    from pipeline.demo.wording import percent, verdict

    generation, recall = metrics["generation"], metrics["retrieval"]["recall_at_1"]
    table = Table(title="passerby demo", show_header=False, title_justify="left")
    table.add_row("pictures generated", str(generation["images"]))
    table.add_row("kept", f"{generation['kept']} ({percent(generation['kept'] / max(generation['images'], 1))})")
    table.add_row("dropped", ", ".join(f"{reason} {count}" for reason, count in generation["dropped"].items()) or "none")
    table.add_row(
        "losses, first to last", ", ".join(f"{n.upper()} {v['first']:.2f} to {v['last']:.2f}" for n, v in metrics["losses"].items())
    )
    for name, group in (("pre-trained", recall["pretrained"]), ("from scratch", recall["scratch"])):
        table.add_row(f"Recall@1, {name}", f"{percent(group['mean'])}, standard deviation {100 * group['std']:.1f} points")
    table.add_row(
        "submission", f"{metrics['submission']['queries']} queries, organisers' score {metrics['submission']['official_map_at_10']:.3f}"
    )
    table.add_row("time", duration(metrics["seconds"]["total"]))
    console.print(table)
    console.print(verdict(recall), highlight=False)
    console.print(f"report:  {paths.report}\nmetrics: {paths.metrics}", highlight=False)
