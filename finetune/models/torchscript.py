"""The tensors of a TorchScript archive, such as OpenAI's CLIP files, read without compiling or running anything that is in it.

`torch.jit.load` compiles the archive's code, and `__setstate__` of its classes runs while it loads; TorchScript can write files. Here the
archive is what it is, a zip: `data.pkl` describes modules and tensors, `data/N` are bytes. The pickle may name tensors, containers and
modules of the archive; anything else in it is refused.
"""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.contracts.errors import ContractError

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(path: Path) -> bool:
    """Archives of `torch.jit.save` hold constants, those of `torch.save` do not."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """State dict of the archive's module. Raises ContractError if it holds anything else than modules, tensors and plain values."""
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ContractError(f"{path} is no TorchScript archive: it holds {len(pickles)} data.pkl")
        with archive.open(pickles[0]) as file:
            try:
                module = _Reader(file, archive, pickles[0].removesuffix("data.pkl")).load()
            except (pickle.UnpicklingError, KeyError, ValueError, TypeError, EOFError, RuntimeError) as err:
                way = "convert it to safetensors where you trust it"
                raise ContractError(f"{path} holds more than modules and tensors ({err}); {way}") from err
    return dict(_tensors(module, ""))


class _Module:
    """Stands for every class of the archive: its state, none of its code."""

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Reader(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch.jit._pickle":  # marks of element types around plain containers
            return lambda value, *rest: value
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        """("storage", dtype, number, device, elements) -> (elements,)."""
        _, dtype, number, _, elements = pid
        if number not in self._storages:
            data = self._archive.read(f"{self._root}data/{int(number)}")
            self._storages[number] = (
                torch.frombuffer(bytearray(data), dtype=dtype, count=elements) if elements else torch.empty(0, dtype=dtype)
            )
        return self._storages[number]


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _tensors(module: Any, prefix: str) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []
    for name, value in getattr(module, "state", {}).items():
        if isinstance(value, Tensor):
            found.append((prefix + name, value))
        elif isinstance(value, _Module):
            found += _tensors(value, f"{prefix}{name}.")
    return found
