"""Slurm's short form of many node names, such as gpu[07-08,12],big."""

import re
from collections.abc import Iterator

from pipeline.contracts.errors import ConfigError


def hosts(nodelist: str) -> list[str]:
    """ "a,b[1-2,07-08]" -> a, b1, b2, b07, b08. Raises ConfigError for what is no list of nodes."""
    if not re.fullmatch(r"(?:[\w.-]+(?:\[[\d,-]+\])?)(?:,[\w.-]+(?:\[[\d,-]+\])?)*", nodelist):
        raise ConfigError(f"SLURM_JOB_NODELIST={nodelist!r} is no list of nodes; set MASTER_ADDR to the name of the first one")
    return [name for prefix, ranges in re.findall(r"([\w.-]+)(?:\[([\d,-]+)\])?", nodelist) for name in _expanded(prefix, ranges)]


def _expanded(prefix: str, ranges: str) -> Iterator[str]:
    if not ranges:
        yield prefix
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        yield from (f"{prefix}{number:0{len(first)}d}" for number in range(int(first), int(last or first) + 1))
