"""YAML + overrides -> frozen dataclass. Defaults live in the dataclass only; unknown keys are refused with the nearest name."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pipeline.contracts.errors import ConfigError
from pipeline.fields import convert
from pipeline.paths import CONFIG_FILE, is_training, set_path

T = TypeVar("T")
_UNSET = object()  # a field that a tree does not have, which None is not


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML lets the last one win and says nothing."""

    def compose_mapping_node(self, anchor: Any) -> Any:  # as written: merges (<<) come later
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if (name := (key.tag, str(key.value))) in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(name)
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file. Raises ConfigError naming the file, and the line where YAML itself says so."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 -- a SafeLoader
    except FileNotFoundError as err:
        raise ConfigError(f"config file {path} does not exist") from err
    except IsADirectoryError as err:
        raise ConfigError(f"config file {path} is a folder; give the YAML file, of a run or training {path / CONFIG_FILE}") from err
    except OSError as err:
        raise ConfigError(f"config file {path} cannot be read: {err.strerror}") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path} is not valid YAML: {err}") from err
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds a {type(data).__name__}; accepted: a mapping of sections")
    try:
        json.dumps(data, default=str, skipkeys=True)
    except ValueError as err:
        raise ConfigError(f"{path}: an anchor (&) holds an alias (*) of itself; write the values out") from err
    return data


def apply_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`["optim.lr=1e-4"]` on top of `data`; the right-hand side is YAML, and a mapping takes the place of all that stands there.

    Raises ConfigError on a malformed item.
    """
    result: dict[str, Any] = _copy(data)
    for item in overrides:
        dotted, separator, text = item.partition("=")
        *parents, last = dotted.split(".")
        if not separator or not all((*parents, last)):
            raise ConfigError(f"--set {item!r}; accepted: a.b=value")
        node = result
        for name in parents:
            if node.get(name) is None:
                node[name] = {}
            node = node[name]
            if not isinstance(node, dict):
                raise ConfigError(f"--set {item!r}: {name!r} is a value, not a section")
        try:
            node[last] = yaml.load(text, _Loader)  # noqa: S506 -- a SafeLoader
        except yaml.YAMLError as err:
            raise ConfigError(f"--set {item!r}: the value is not valid YAML; put quotes around text with special characters") from err
    return result


def build(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Check `data` against the dataclass `cls`, deeply, and build it. Raises ConfigError naming field, value and what is accepted.

    A class with a static method `expanded` replaces short forms in `data` by what they stand for, first.
    """
    import dacite  # here and not above: `passerby --help` does without

    data = getattr(cls, "expanded", dict)(data)
    converted = convert(cls, data, "", where)
    try:
        return dacite.from_dict(cls, converted, dacite.Config(strict=True))
    except ConfigError as err:  # a __post_init__ knows field and value, but not the file
        raise ConfigError(f"{where}: {err}") from err
    except dacite.WrongTypeError as err:
        raise ConfigError(f"{where}: {err.field_path}={err.value!r}; accepted: {err.field_type}") from err
    except dacite.MissingValueError as err:
        raise ConfigError(f"{where}: {err.field_path} is missing; it has no default") from err
    except (dacite.DaciteError, ValueError, TypeError) as err:  # the latter two come from a __post_init__
        raise ConfigError(f"{where}: {err}") from err


def load(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """The one way from a YAML file and `--set` items to a config. Short forms in the file are replaced first: items win over them."""
    return build(cls, apply_overrides(getattr(cls, "expanded", dict)(read_yaml(path)), overrides), str(path))


def of_training(path: Path, overrides: Sequence[str] = ()) -> tuple[Path, list[str]]:
    """A recipe, or a training's folder or config.yaml -> (YAML file, `--set` items). The latter two mean the training in that folder,
    wherever it lies now, unless an item says `out=`: what was moved or copied must not go on, or be scored, somewhere else."""
    file = path / CONFIG_FILE if path.is_dir() else path
    if file.name == CONFIG_FILE and is_training(file.parent):
        return file, [set_path("out", file.parent), *overrides]
    return file, list(overrides)


def to_dict(config: Any) -> dict[str, Any]:
    """The resolved tree as plain YAML/JSON types (tuples become lists, paths strings)."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def to_yaml(config: Any) -> str:
    return dump_yaml(to_dict(config))


def dump_yaml(data: Mapping[str, Any]) -> str:
    """YAML text in the order of the mapping."""
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True)


def changed_fields(old: Any, new: Any, name: str = "") -> dict[str, str]:
    """Dotted names of the fields in which two resolved trees differ: {"generate.steps": "20 -> 30"}; `unset` where a tree lacks one."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        prefix = f"{name}." if name else ""
        parts = (changed_fields(old.get(key, _UNSET), new.get(key, _UNSET), f"{prefix}{key}") for key in {**new, **old})
        return {field: change for part in parts for field, change in part.items()}
    return {} if old == new else {name: " -> ".join("unset" if value is _UNSET else repr(value) for value in (old, new))}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _copy(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in data.items()}
