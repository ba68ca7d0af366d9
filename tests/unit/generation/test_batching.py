"""Batch sizes: halved by memory, or found by trying."""

import pytest
import torch

from generation.backends.batching import FIRST_TRY, MAX_TRY, BatchSize, in_batches
from generation.backends.memory import is_out_of_memory
from pipeline.contracts.errors import StageError


def found(seconds_of: dict[int, float]) -> int:
    """The size that trying ends with when a batch of n takes seconds_of[n]."""
    size = BatchSize(0)
    for _ in range(20):
        size.worked(size.size, seconds_of[size.size])
    return size.size


def test_a_fixed_size_stays() -> None:
    size = BatchSize(16)
    size.worked(16, 1.0)
    assert size.size == 16


def test_trying_stops_where_pictures_a_second_no_longer_grow() -> None:
    assert found({2: 1.0, 4: 1.2, 8: 1.6, 16: 3.3}) == 8  # 2, 3.3, 5, 4.8 pictures a second
    assert found({2: 1.0, 4: 2.0}) == 2
    assert found(dict.fromkeys((2, 4, 8, 16, 32, 64), 1.0)) == MAX_TRY


def test_partial_batches_say_nothing() -> None:
    size = BatchSize(0)
    size.worked(1, 100.0)
    assert size.size == FIRST_TRY


def test_memory_ends_the_growth() -> None:
    made: list[int] = []

    def run(start: int, stop: int) -> list[int]:
        if stop - start > 8:
            raise MemoryError
        made.append(stop - start)
        return list(range(start, stop))

    size = BatchSize(0)
    assert in_batches(size, 50, run, "no") == list(range(50))
    assert max(made) <= 8
    assert size.size <= 8


def test_one_that_does_not_fit_is_an_error_with_the_way_out() -> None:
    def run(start: int, stop: int) -> list[int]:
        raise MemoryError

    with pytest.raises(StageError, match="buy more"):
        in_batches(BatchSize(5), 7, run, "buy more")


def test_memory_that_has_run_out_is_known_in_every_wording() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**55, dtype=torch.uint8)
    assert type(raised.value) is RuntimeError  # the CPU's allocator has no class of its own
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert is_out_of_memory(torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'", 2))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB)"))


def test_other_errors_do_not_halve_the_batch() -> None:
    def run(start: int, stop: int) -> list[int]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    size = BatchSize(4)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        in_batches(size, 4, run, "buy more")
    assert size.size == 4
