"""Units into array tasks. Pure functions: what is missing goes in, which task of which array makes it comes out.

Terms: the *chain* is the unit stages of the flow in order. A unit starts at the first of them that is to be made, and all later ones
follow, since their inputs are new. Units that start alike form a *group*; task i of every stage's array of a group makes the same units, so
that `aftercorr` can chain them, and no array has holes.
"""

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass


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

    Units are dealt like cards, unit k of a start to task k % n: neighbours, which cost alike, spread over the tasks, and of a whole run
    each task is a residue class, which is one worker process (see `cover`).
    """
    groups = []
    for stage in chain:
        units = [unit for unit, start in starts.items() if start == stage]
        num_tasks = -(-len(units) // units_per_task)
        tasks = [tuple(units[i::num_tasks]) for i in range(num_tasks)]
        groups += [Group(stage, tuple(tasks[i : i + max_array_size])) for i in range(0, num_tasks, max_array_size)]
    return groups


def windows(num_arrays: int, max_running: int | None) -> list[Window]:
    """Share a window of tasks among the arrays of a stage: side by side while there is one for each, else in as many lanes as tasks."""
    if max_running is None:
        return [Window(None, None)] * num_arrays
    lanes = max(1, min(num_arrays, max_running))
    shares = [max_running // lanes + (lane < max_running % lanes) for lane in range(lanes)]
    return [Window(shares[i % lanes], i - lanes if i >= lanes else None) for i in range(num_arrays)]


def cover(units: Collection[int], num_units: int, others: Container[int], base: int) -> list[tuple[int, int]]:
    """(task, num_tasks) arguments of stage commands that make `units` and touch none of `others`.

    A stage command makes the units u with u % num_tasks == task, and skips those that are done. So a residue class is one command where
    it is free of others' work; where it is not, the modulus doubles until it is, at worst to a command for one unit.

    Args:
        num_units: of the run. others: all units that are not done; those outside `units` belong to somebody else.
        base: the modulus to begin with: the number of tasks that the whole run has.
    """
    own = set(units)
    left = set(own)
    commands = []
    for unit in sorted(left):
        if unit not in left:
            continue
        modulus = min(max(base, 1), num_units)
        while modulus < num_units and any(u in others and u not in own for u in range(unit % modulus, num_units, modulus)):
            modulus = min(modulus * 2, num_units)
        commands.append((unit % modulus, modulus))
        left -= set(range(unit % modulus, num_units, modulus))
    return commands
