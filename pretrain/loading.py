"""Loader processes: what is wrong with the data is raised as it was found. Of an error that is raised in one torch makes a traceback."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from pipeline.contracts.errors import ProjectError

Example = TypeVar("Example")
Batch = TypeVar("Batch")


class _Batches(Dataset[Any]):
    """Made where the examples are read; an error about the data takes the place of the batch."""

    def __init__(self, examples: Dataset[Any], collate: Callable[[Sequence[Any]], Any]) -> None:
        self._examples, self._collate = examples, collate

    def __getitems__(self, places: Sequence[Any]) -> Any:
        try:
            read = getattr(self._examples, "__getitems__", None)
            return self._collate(read(places) if read else [self._examples[place] for place in places])
        except ProjectError as err:
            return err


def load(
    examples: Dataset[Example], sampler: Any, workers: int, collate: Callable[[Sequence[Example]], Batch], pin_memory: bool = False
) -> Iterator[Batch]:
    """collate(examples) for each list of places that `sampler` gives. The iterator raises the ProjectError that an example raised."""
    loader = DataLoader(
        _Batches(examples, collate),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_as_it_is,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
    )
    return _raised(iter(loader))


def _as_it_is(batch: Any) -> Any:
    return batch


def _raised(batches: Iterator[Batch | ProjectError]) -> Iterator[Batch]:
    for batch in batches:
        if isinstance(batch, ProjectError):
            raise batch
        yield batch
