"""Memory that has run out: how the libraries say so, and how to get back what a failed try still holds."""

import sys

_MESSAGES = (  # of a RuntimeError, or of a class below it, where there is no class of its own
    "out of memory",  # CUDA, ROCm, Metal, also as torch.AcceleratorError
    "CUBLAS_STATUS_ALLOC_FAILED",  # cuBLAS allocates its workspace beside the allocator of torch
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "HIPBLAS_STATUS_ALLOC_FAILED",
    "can't allocate memory",  # DefaultCPUAllocator
)


def is_out_of_memory(err: Exception) -> bool:
    """Whether a smaller batch may succeed where this was raised: torch.OutOfMemoryError, and what says the same in other words."""
    if isinstance(err, MemoryError):
        return True
    return isinstance(err, RuntimeError) and (type(err).__name__ == "OutOfMemoryError" or any(text in str(err) for text in _MESSAGES))


def release_memory() -> None:
    """Give cached blocks back to the device, so that libraries beside torch find room. Call it outside of `except`: the traceback
    of the error keeps the tensors of the failed try alive."""
    torch = sys.modules.get("torch")  # not loaded: nothing to give back
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()
