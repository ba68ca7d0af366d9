"""Attribute combinations in the shares of a target (`generation.target`), from a seed. Pure Python.

The sampler's people, a thousand at a time, with the values that the target names given anew: to all whom a name concerns, in exact shares,
and spread so that any first part of them has nearly these shares too. Like the sampler's own, prompt i depends on seed, target and i alone.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from generation.sampler import Look, look_of, lower_type_of, sample_look, sample_values
from generation.target import BLOCK_SIZE, COLOURS, VALUES, Option, apportion, colours_for_dresses
from pipeline.seeds import derive_seed

Person = dict[str, Option]  # as of sample_values
_EVEN_COLOURS = {name: dict.fromkeys(VALUES[name], 1) for name in ("upper_colour", "lower_colour")}  # the sampler's own


def sample_looks(seed: int, target: Mapping[str, Any] | None = None) -> Iterator[Look]:
    """The combinations of all prompts from the first, without end."""
    for block in count():
        if target is None:
            yield from (sample_look(seed, block * BLOCK_SIZE + i) for i in range(BLOCK_SIZE))
        else:
            yield from map(look_of, _Block(seed, block, target).people)


class _Block:
    """BLOCK_SIZE people, who have the target's shares."""

    def __init__(self, seed: int, block: int, target: Mapping[str, Any]) -> None:
        self._seed, self._block, self._target = seed, block, target
        self.people: list[Person] = [sample_values(seed, block * BLOCK_SIZE + i) for i in range(BLOCK_SIZE)]
        for name in VALUES:  # gender before what only women wear
            if name in target and name not in COLOURS:
                concerned = [person for person in self.people if _concerns(name, person)]
                self._give(name, apportion(target[name], len(concerned)), concerned)
        self._give_colours()

    def _give_colours(self) -> None:
        """A dress has one colour: its own share where the target states one, else a part of those stated for upper and lower clothes."""
        stated = [name for name in ("upper_colour", "lower_colour") if name in self._target]
        if "dress_colour" in self._target:
            dressed = [person for person in self.people if _wears_dress(person)]
            others = [person for person in self.people if not _wears_dress(person)]
            self._give("dress_colour", apportion(self._target["dress_colour"], len(dressed)), dressed)
            for name in stated:
                self._give(name, apportion(self._target[name], len(others)), others)
        elif stated:
            free = colours_for_dresses(self._target)
            if "lower_type_woman" not in self._target:
                free = colours_for_dresses({**_EVEN_COLOURS, **self._target})
                self._take_dresses_off(free.total())
            dressed = [person for person in self.people if _wears_dress(person)]
            self._give("dress_colour", apportion(free, len(dressed)), dressed)
            for name in stated:
                self._give(name, apportion(self._target[name], BLOCK_SIZE), self.people)
                _match_dresses(name, self.people)

    def _take_dresses_off(self, free: int) -> None:
        """Of the sampler's own dresses keeps the part that `free` people are of a block, lest a colour be all dresses, and so all women."""
        dressed = [person for person in self.people if _wears_dress(person)]
        kept = len(dressed) * free // BLOCK_SIZE
        self._give("lower_type_woman", {"dress": kept, "skirt": len(dressed) - kept}, dressed)

    def _give(self, name: str, counts: Mapping[str, int], people: Sequence[Person]) -> None:
        rng = random.Random(derive_seed(self._seed, "target", name, self._block))
        for person, value in zip(people, _spread(counts, rng), strict=True):
            person[name] = VALUES[name][value]


def _concerns(name: str, person: Person) -> bool:
    """Whether a sentence about this person states the value of this name."""
    if name in ("lower_type_woman", "lower_type_man"):
        return name == f"lower_type_{person['gender']}"
    if name == "lower_length":
        return lower_type_of(person) in ("skirt", "dress")
    return True


def _wears_dress(person: Person) -> bool:
    return lower_type_of(person) == "dress"


def _match_dresses(name: str, people: Sequence[Person]) -> None:
    """Each dress gets the colour of this name that it needs from the nearest who has it and needs it not: shares stay as they are."""
    open_places = dict(enumerate(people))
    for place, person in enumerate(people):
        if _wears_dress(person):
            near = min((i for i, other in open_places.items() if other[name] == person["dress_colour"]), key=lambda i: abs(i - place))
            person[name], people[near][name] = people[near][name], person[name]
            del open_places[place]


def _spread(counts: Mapping[str, int], rng: random.Random) -> list[str]:
    """Each value so often, evenly from the first to the last: of n copies one at a place drawn from each n-th of the way."""
    return [value for _, value in sorted(((i + rng.random()) / n, value) for value, n in sorted(counts.items()) for i in range(n))]
