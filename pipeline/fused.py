"""A chain of stages over the same units in one process: pictures stay in memory, and all stages work at the same time.

Each stage has a thread; bounded channels hand kept samples on, batch by batch, units in order. What lies on disk afterwards is what
`runner.run_units` leaves when the stages run one after the other, byte for byte (seconds in done records apart): a unit of each stage is
cut into the same batches, and its rows are written as they would be after reading those of the stage before. So a run can be begun fused
and continued stage by stage, and the reverse.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pipeline.channel import CalledOffError, Channel
from pipeline.completion import State, read_record, refuse_foreign, unit_state
from pipeline.contracts.manifest import DoneRecord
from pipeline.contracts.stage import Item, Keep, Outcome, Row, SplitStage, Stage
from pipeline.inputs import UnitInput
from pipeline.lanes import Lanes, Step
from pipeline.paths import RunPaths
from pipeline.runner import batches, process
from pipeline.signals import StopRequest, stop_requests
from pipeline.tables import as_read
from pipeline.unit_files import MadeUnit, row_of, sweep

PARTS = 2  # batches that may wait between two stages
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Link:
    """One stage of the chain. inputs: what its units are made from when they do not come from the stage before it in this process."""

    stage: Stage
    config_digest: str
    inputs: Callable[[int], UnitInput]


@dataclass(slots=True)
class StageTime:
    """Seconds of one stage, sums over its lanes where it has several.

    busy: at work, its pool processes waited for; cpu: of its own threads; waited: for something to do; held: for room, because what comes
    behind was slower.
    """

    stage: str
    units: int = 0
    images: int = 0
    busy: float = 0.0
    cpu: float = 0.0
    waited: float = 0.0
    held: float = 0.0
    lanes: int = 1


@dataclass(slots=True)
class FusedReport:
    """records: of what was made now, in order of commit. seconds: from the first batch to the last record, set-up: before that."""

    records: list[DoneRecord] = field(default_factory=list)
    times: list[StageTime] = field(default_factory=list)
    seconds: float = 0.0
    setup_seconds: float = 0.0


def run_fused(
    links: Sequence[Link], paths: RunPaths, units: Sequence[int], *, on_unit: Callable[[DoneRecord], None] | None = None
) -> FusedReport:
    """Make what is missing of `units` in all stages of the chain. A unit begins at the first stage that lacks it; all later ones follow.

    Models load only for stages that have something to do. Raises as `runner.run_units` does; on SIGTERM units in hand are dropped (what
    a stage has finished of them stays), on SIGUSR1 they are finished and no other is begun.
    """
    starts = _starts(links, paths, units)
    if not starts:
        return FusedReport()
    first = min(starts.values())
    flow = _Flow(links[first:], paths, {unit: start - first for unit, start in starts.items()}, on_unit)
    began = time.monotonic()
    flow.set_up()
    ready = time.monotonic()
    with stop_requests() as request:
        flow.run(request)
    flow.report.setup_seconds, flow.report.seconds = ready - began, time.monotonic() - ready
    return flow.report


def _starts(links: Sequence[Link], paths: RunPaths, units: Sequence[int]) -> dict[int, int]:
    """unit -> position of the first stage that lacks it; finished units are left out. Raises ContractError on a foreign record."""
    starts = {}
    for unit in units:
        for position, link in enumerate(links):
            record = read_record(paths, link.stage.name, unit)
            if record and record.config_digest != link.config_digest:
                raise refuse_foreign(paths, record, link.config_digest)
            # the stages before it are done, so that its inputs have a digest; behind a gap nothing can be judged, and nothing need be
            if unit not in starts and unit_state(paths, record, link.config_digest, link.inputs(unit).digest) is not State.DONE:
                starts[unit] = position
    return starts


@dataclass(frozen=True, slots=True)
class _Part:
    """Kept samples of a unit on their way to the next stage. rows: with the last part, what their rows look like when read from disk."""

    unit: int
    items: list[Item] = field(default_factory=list)
    rows: list[Row] | None = None
    skipped: bool = False


class _Upstream:
    """The samples of one unit as the stage before hands them over. rows: set when all have come."""

    def __init__(self, channel: Channel[_Part], unit: int) -> None:
        self._channel, self._unit = channel, unit
        self.rows: list[Row] | None = None
        self._first = channel.get()
        self.skipped = self._first.skipped

    def __iter__(self) -> Iterator[Item]:
        part = self._first
        while True:
            assert part.unit == self._unit, f"unit {part.unit} came where unit {self._unit} was due"
            yield from part.items
            if part.rows is not None:
                self.rows = part.rows
                return
            part = self._channel.get()


_Made = tuple[list[Item], Sequence[Outcome], float]  # a batch, its outcomes, the seconds that they took


class _Flow:
    """The threads of one call of run_fused. starts: unit -> position in `links`, in the order in which units are made."""

    def __init__(
        self, links: Sequence[Link], paths: RunPaths, starts: dict[int, int], on_unit: Callable[[DoneRecord], None] | None
    ) -> None:
        self._links, self._paths, self._starts, self._on_unit = links, paths, starts, on_unit
        self.report = FusedReport(times=[StageTime(link.stage.name) for link in links])
        self._channels: list[Channel[_Part]] = [Channel(PARTS) for _ in links[1:]]
        self._stopping, self._off = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._lanes: Lanes | None = None
        self._threads = [threading.Thread(target=self._run_stage, args=(i,), name=link.stage.name) for i, link in enumerate(links)]

    def set_up(self) -> None:
        """Load all stages; those that start processes begin with that, so that the processes load beside us."""
        try:
            for link in self._links:
                if hasattr(link.stage, "prepare"):
                    link.stage.prepare()
            for link in self._links:
                link.stage.setup()
        except BaseException:
            for link in self._links:
                link.stage.teardown()
            raise
        first = self._links[0].stage
        if hasattr(first, "compute"):  # all its units begin with it, so that it may look ahead; how far it knows now
            self._lanes = Lanes(cast(SplitStage, first), self._steps(), self._fail)

    def run(self, request: StopRequest) -> None:
        """Returns when all is made; raises what a stage has raised, or Stopped."""
        for thread in self._threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in self._threads):
                self._threads[-1].join(POLL_S)
                if request.received is not None:
                    self._stopping.set()
                if request.drops:
                    self._call_off()
        except BaseException:  # Ctrl-C has interrupted the wait
            self._call_off()
            raise
        finally:
            for thread in self._threads:
                thread.join()
        if self._error is not None:
            raise self._error
        made = {record.unit for record in self.report.records if record.stage == self._links[-1].stage.name}
        if left := sorted(set(self._starts) - made):
            assert request.received is not None, f"units {left} were lost"
            raise request.stopped(f"with {len(left)} units unfinished")

    def _run_stage(self, index: int) -> None:
        lanes = self._lanes if index == 0 else None
        try:
            if lanes:
                lanes.start()
            for unit, start in self._starts.items():
                if start <= index:
                    self._make(index, unit, self._upstream(index, unit) if start < index else None)
        except CalledOffError:
            pass
        except BaseException as err:  # of whatever kind: the main thread raises it again
            self._fail(err)
        finally:
            if lanes:
                lanes.join()
            self._note_times(index)
            self._links[index].stage.teardown()  # here: processes of a pool are bound to the thread that has started them

    def _make(self, index: int, unit: int, upstream: _Upstream | None) -> None:
        """One unit of one stage: from the stage before it, or from disk. A unit that is not begun is told to the stages behind."""
        link = self._links[index]
        made = self._from_lanes(link.stage) if index == 0 and self._lanes else self._in_batches(link, unit, upstream)
        if upstream.skipped if upstream else made is None:
            self._send(index, _Part(unit, skipped=True))
            return
        judged: list[tuple[Item, Outcome]] = []
        seconds = 0.0
        for batch, outcomes, took in made or ():
            seconds += took
            # without its picture, which the stages behind may need but not this one any more
            judged += [(Item(item.key, item.row), outcome) for item, outcome in zip(batch, outcomes, strict=True)]
            self._send(index, _Part(unit, [_handed_on(i, o) for i, o in zip(batch, outcomes, strict=True) if isinstance(o, Keep)]))
        started = time.monotonic()
        rows = self._commit(link, unit, judged, upstream.rows if upstream else None, seconds)
        times = self.report.times[index]
        times.busy += seconds + time.monotonic() - started
        times.units += 1
        times.images += len(judged)
        self._send(index, _Part(unit, rows=rows))

    def _commit(
        self, link: Link, unit: int, judged: Sequence[tuple[Item, Outcome]], rows: Sequence[Row] | None, seconds: float
    ) -> list[Row]:
        """Write the unit; the rows that it keeps, as they are read from disk. rows: those of its items, where they came in memory."""
        made = MadeUnit(link.stage, unit)
        for number, (item, outcome) in enumerate(judged):
            made.add(Item(item.key, rows[number]) if rows is not None else item, outcome)
        sweep(self._paths, link.stage.name, [unit])
        record = made.commit(self._paths, link.config_digest, link.inputs(unit).digest, seconds)
        with self._lock:
            self.report.records.append(record)
            if self._on_unit:
                self._on_unit(record)
        return [row for row in as_read(made.rows) if row["status"] == "kept"]

    def _in_batches(self, link: Link, unit: int, upstream: _Upstream | None) -> Iterator[_Made] | None:
        """The unit's batches with their outcomes; None if it is not to be begun."""
        if upstream is None and self._stopping.is_set():
            return None
        items = link.inputs(unit).items if upstream is None else upstream
        return self._processed(link.stage, items)

    def _processed(self, stage: Stage, items: Iterable[Item]) -> Iterator[_Made]:
        for batch in batches(items, stage.batch_size):
            if self._off.is_set():
                raise CalledOffError
            started = time.monotonic()
            outcomes = process(stage, batch if stage.reads_images else [Item(item.key, item.row) for item in batch])
            yield batch, outcomes, time.monotonic() - started

    def _from_lanes(self, stage: Stage) -> Iterator[_Made] | None:
        assert self._lanes is not None
        step, computed, took = self._lanes.take()
        return None if step.skipped else self._finished(cast(SplitStage, stage), step, computed, took)

    def _finished(self, stage: SplitStage, step: Step, computed: Any, took: float) -> Iterator[_Made]:
        assert self._lanes is not None
        while step.batch is not None:
            started = time.monotonic()
            outcomes = stage.finish(step.batch, computed)
            yield step.batch, outcomes, took + time.monotonic() - started
            step, computed, took = self._lanes.take()

    def _steps(self) -> Iterator[Step]:
        """For the lanes: all batches of all units that begin with the first stage."""
        for unit in [unit for unit, start in self._starts.items() if start == 0]:
            if self._stopping.is_set():
                yield Step(unit, skipped=True)
                continue
            for batch in batches(self._links[0].inputs(unit).items, self._links[0].stage.batch_size):
                yield Step(unit, batch)
            yield Step(unit)

    def _upstream(self, index: int, unit: int) -> _Upstream:
        return _Upstream(self._channels[index - 1], unit)

    def _send(self, index: int, part: _Part) -> None:
        if index < len(self._channels):
            self._channels[index].put(part)

    def _note_times(self, index: int) -> None:
        times = self.report.times[index]
        times.cpu = time.thread_time()
        times.waited = self._channels[index - 1].waited_to_get if index else 0.0
        times.held = self._channels[index].waited_to_put if index < len(self._channels) else 0.0
        if index == 0 and self._lanes:
            times.cpu += self._lanes.times.cpu
            times.lanes, times.held = self._lanes.num_lanes, self._lanes.times.waited

    def _fail(self, err: BaseException) -> None:
        with self._lock:
            self._error = self._error or err
        self._call_off()

    def _call_off(self) -> None:
        self._off.set()
        for channel in self._channels:
            channel.call_off()
        if self._lanes:
            self._lanes.call_off()


def _handed_on(item: Item, outcome: Keep) -> Item:
    return Item(item.key, row_of(item, outcome), outcome.image or item.image)
