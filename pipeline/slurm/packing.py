"""Units into array tasks. Pure functions: what is missing goes in, which task of which array makes it comes out.

Terms: the *chain* is the unit stages of the flow in order. A unit starts at the first of them that is to be made, and all later ones
follow, since their inputs are new. Units that start alike form a *group*; task i of every stage's array of a group makes the same units, so
that `aftercorr` can chain them, and no array has holes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Group:
    """tasks[i]: the units of array task i. start: the first stage of the chain that is made; the others follow."""

    start: str
    tasks: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Window:
    """How an array shares its stage's window: at most `running` of its tasks at a time; `after`: position of the array it waits for."""

    running: int | None
    after: int | None


def starting_stages(chain: Sequence[str], missing: Mapping[str, Collection[int]]) -> dict[int, str]:
    """unit -> the first stage of `chain` at which it is missing. Units that lack nothing are left out."""
    starts: dict[int, str] = {}
    for stage in chain:
        for unit in missing[stage]:
            starts.setdefault(unit, stage)
    return dict(sorted(starts.items()))


def pack(starts: Mapping[int, str], chain: Sequence[str], units_per_task: int, max_array_size: int) -> list[Group]:
    """Groups of at most max_array_size tasks (indices 0 to max_array_size - 1) of at most units_per_task units.

    Units are dealt like cards, unit k of a start to task k % n: neighbours, which cost alike, spread over the tasks. Arrays of a start
    have equally many tasks, give or take one: they share their stage's window evenly, and a short one would leave its share idle.
    """
    groups = []
    for stage in chain:
        units = [unit for unit, start in starts.items() if start == stage]
        num_tasks = -(-len(units) // units_per_task)
        tasks = [tuple(units[i::num_tasks]) for i in range(num_tasks)]
        num_arrays = -(-num_tasks // max_array_size)
        ends = [(i + 1) * num_tasks // num_arrays for i in range(num_arrays)]
        groups += [Group(stage, tuple(tasks[begin:end])) for begin, end in pairwise([0, *ends])]
    return groups


def windows(num_arrays: int, max_running: int | None) -> list[Window]:
    """Share a window of tasks among the arrays of a stage: side by side while there is one for each, else in as many lanes as tasks."""
    if max_running is None:
        return [Window(None, None)] * num_arrays
    lanes = max(1, min(num_arrays, max_running))
    shares = [max_running // lanes + (lane < max_running % lanes) for lane in range(lanes)]
    return [Window(shares[i % lanes], i - lanes if i >= lanes else None) for i in range(num_arrays)]
