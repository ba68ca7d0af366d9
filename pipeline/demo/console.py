"""What the demo prints: one line per step, how far it is, how long it still takes.

A terminal sees the line move, a log gets one now and then.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline.demo.execute import Progress, Step

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

LOG_EVERY_S = 15.0
_TRUST_S = 30.0  # of expected time: how much the table of expectations weighs against what was measured so far


def duration(seconds: float) -> str:
    """ "48 s", "3 min 05 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def remaining_s(done_expected_s: float, left_expected_s: float, elapsed_s: float) -> float:
    """Seconds still to go: the expectation for what is left, scaled by how this machine compared with expectation so far."""
    return left_expected_s * (elapsed_s + _TRUST_S) / (done_expected_s + _TRUST_S)


@dataclass(slots=True)
class Display:
    """Context manager around the whole demo. Steps that are already done count neither as elapsed nor as left."""

    console: "Console"
    steps: Sequence[Step]
    todo: Sequence[Step]
    live: "Live | None" = None
    start: float = 0.0
    done_expected_s: float = 0.0
    last_line: float = 0.0

    def __enter__(self) -> Self:
        from rich.live import Live

        self.start = time.monotonic()
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4, transient=True)
            self.live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.__exit__(kind, error, trace)

    def skip(self, step: Step) -> None:
        self.console.print(f"{self._number(step)} {step.title}: already done", highlight=False)

    def begin(self, step: Step) -> None:
        self.last_line = time.monotonic()
        self._show(step, Progress(0.0, "starting"), force=True)

    def update(self, step: Step, progress: Progress) -> None:
        self._show(step, progress, force=False)

    def end(self, step: Step, seconds: float) -> None:
        self.done_expected_s += step.expected_s
        self.console.print(f"{self._number(step)} {step.title}: done in {duration(seconds)}", highlight=False)

    def _show(self, step: Step, progress: Progress, force: bool) -> None:
        now = time.monotonic()
        done = self.done_expected_s + step.expected_s * progress.share
        total = sum(s.expected_s for s in self.todo)
        left = remaining_s(done, max(total - done, 0.0), now - self.start)
        text = (
            f"{self._number(step)} {step.title}: {progress.text} ({progress.share:.0%}); "
            f"{duration(now - self.start)} so far, about {duration(left)} left"
        )
        if self.live:
            from rich.text import Text

            self.live.update(Text(text, style="cyan"))
        elif force or now - self.last_line >= LOG_EVERY_S:
            self.last_line = now
            self.console.print(text, highlight=False)

    def _number(self, step: Step) -> str:
        return f"step {self.steps.index(step) + 1} of {len(self.steps)},"
