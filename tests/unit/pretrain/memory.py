"""Bytes that torch allocates on a CPU, from its own profiler."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile


def _walk(events: list[Any]) -> Iterator[Any]:
    for event in events:
        yield event
        yield from _walk(event.children)


def peak_bytes(work: Callable[[], Any]) -> tuple[Any, int, int]:
    """Result, most bytes allocated at a time above the start, and bytes that stay."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = work()
    assert recorded.profiler is not None
    events = _walk(recorded.profiler.kineto_results.experimental_event_tree())
    sizes = [e.extra_fields.alloc_size for e in sorted(events, key=lambda e: e.start_time_ns) if e.tag == _EventType.Allocation]
    running = torch.tensor(sizes).cumsum(0)
    return result, int(running.max()), int(running[-1])
