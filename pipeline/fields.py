"""One value of a config against the type of its field: what YAML cannot say is translated, what the type does not accept is refused.

YAML 1.1 reads 1e-4 as text, 1 as a whole number where a float is meant, a list where a tuple is meant, `yes` as a truth value.
"""

import dataclasses
import datetime
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from pipeline.contracts.errors import ConfigError

_EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


def convert(kind: Any, value: Any, name: str, where: str) -> Any:
    """`value` as the type `kind` wants it; nested dataclasses stay mappings, with their fields converted.

    Args:
        kind: a field's type: dataclass, int, float, bool, str, Path, Literal, list, tuple, dict, any union of them, Any.
        name: dotted name of the field, "" for the whole config. where: file name for messages.

    Raises: ConfigError naming file, field, value and what is accepted.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _section(kind, value, name, where)
    if origin in (Union, types.UnionType):
        return _union(kind, args, value, name, where)
    if origin is Literal:
        if not any(value == a and type(value) is type(a) for a in args):
            raise _refusal(kind, value, name, where)
        return value
    if origin in (list, tuple, Sequence) or kind in (list, tuple):
        return _sequence(kind, origin or kind, args, value, name, where)
    if origin in (dict, Mapping) or kind is dict:
        if not isinstance(value, Mapping):
            raise _refusal(kind, value, name, where)
        inner = args[1] if args else Any
        return {k: convert(inner, v, f"{name}.{k}", where) for k, v in value.items()}
    return _scalar(kind, value, name, where)


def _section(kind: Any, value: Any, name: str, where: str) -> dict[str, Any]:
    if value is None:
        value = {}  # a section whose every line is commented out
    if not isinstance(value, Mapping):
        raise _refusal(kind, value, name, where)
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind) if f.init]
    prefix = f"{name}." if name else ""
    for key in value:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"accepted: {', '.join(names)}"
            raise ConfigError(f"{where}: unknown key {prefix}{key}; {hint}")
    required = (f.name for f in dataclasses.fields(kind) if f.init and f.default is f.default_factory is dataclasses.MISSING)
    if absent := [key for key in required if key not in value]:
        raise ConfigError(f"{where}: {prefix}{absent[0]} is missing; it has no default")
    return {key: convert(hints[key], v, f"{prefix}{key}", where) for key, v in value.items()}


def _union(kind: Any, args: tuple[Any, ...], value: Any, name: str, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    members = [a for a in args if a is not type(None)]
    if len(members) == 1:
        return convert(members[0], value, name, where)
    for exact in (True, False):  # 3 stays whole in `int | float`, text stays text in `float | str`
        for member in members:
            if exact and isinstance(member, type) and type(value) is not member:
                continue
            if dataclasses.is_dataclass(member) and isinstance(value, Mapping):
                return convert(member, value, name, where)  # so that a wrong key in it is named
            if typing.get_origin(member) in (list, tuple) and isinstance(value, list | tuple):
                return convert(member, value, name, where)  # the same of an item
            try:
                return convert(member, value, name, where)
            except ConfigError:
                continue
    raise _refusal(kind, value, name, where)


def _sequence(kind: Any, origin: Any, args: tuple[Any, ...], value: Any, name: str, where: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _refusal(kind, value, name, where)
    fixed = origin is tuple and args and args[-1] is not Ellipsis
    if fixed and len(value) != len(args):
        raise ConfigError(f"{where}: {name}={value!r} has {len(value)} values; accepted: {len(args)} ({type_name(kind)})")
    inner = args if fixed else [args[0] if args else Any] * len(value)
    converted = [convert(k, v, f"{name}[{i}]", where) for i, (k, v) in enumerate(zip(inner, value, strict=True))]
    return tuple(converted) if origin is tuple else converted


def _scalar(kind: Any, value: Any, name: str, where: str) -> Any:
    if kind is Any:
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (int, float) and isinstance(value, str) and _EXPONENT.fullmatch(value):
        value, number = float(value), True
    if kind is float and number and math.isfinite(value):
        return float(value)
    if kind is int and number and math.isfinite(value) and float(value).is_integer():
        return int(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind in (int, float) or not isinstance(value, kind):
        raise _refusal(kind, value, name, where)
    return value


def _refusal(kind: Any, value: Any, name: str, where: str) -> ConfigError:
    hint = ""
    if isinstance(value, float) and not math.isfinite(value):
        hint = ", finite"
    elif str in (kind, *typing.get_args(kind)) and isinstance(value, int | float | datetime.date):
        hint = (
            " (in quotes: without them YAML reads 64 as a number, 4:00:00 as seconds, no as a truth value, 2026-11-21 as a date; "
            """on a command line 'a.b="64"')"""
        )
    return ConfigError(f"{where}: {name}={value!r}; accepted: {type_name(kind)}{hint}")


def type_name(kind: Any) -> str:
    """A type in words for messages: `'png', 'jpg'` for a Literal, `a number or null` for float | None."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return ", ".join(map(repr, args))
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(a) for a in args)
    if origin in (list, tuple, Sequence):
        inner = type_name(args[0]) if len(set(args) - {Ellipsis}) == 1 else ", ".join(type_name(a) for a in args)
        return f"a list of {inner.replace('a section', 'sections', 1)}"
    if origin in (dict, Mapping) or kind is dict:
        return f"a mapping of names to {type_name(args[1])}" if args else "a mapping"
    if dataclasses.is_dataclass(kind):
        return f"a section with {', '.join(f.name for f in dataclasses.fields(kind))}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path", type(None): "null"}
    return words.get(kind) or str(getattr(kind, "__name__", kind))
