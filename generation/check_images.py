"""`check-images`: the filter's verdict on any folder of pictures, without a run."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from generation.config import FilterConfig
from generation.filter import FilterStage
from generation.images import list_pictures
from pipeline.contracts.stage import Drop, Fail, Item, Keep


def check_folder(folder: Path, config: FilterConfig) -> Iterator[dict[str, Any]]:
    """One row per picture of `folder`, by name: file, verdict (keep or drop), reason (None if kept), measures.

    A file that is no readable picture is dropped too, reason corrupt_image, without measures.

    Raises ContractError if the folder is missing or holds no picture.
    """
    files = list_pictures(folder)
    config = replace(config, batch_size=min(config.batch_size, len(files)))  # no more processes than pictures
    stage = FilterStage(config)
    stage.setup()
    try:
        for first in range(0, len(files), config.batch_size):
            batch = files[first : first + config.batch_size]
            outcomes = stage.process([Item(path.name, {}, _bytes(path)) for path in batch])
            for path, outcome in zip(batch, outcomes, strict=True):
                yield _row(path.name, outcome)
    finally:
        stage.teardown()


def _bytes(path: Path) -> bytes:
    """Nothing, which is no picture, for a link that leads nowhere and a file that may not be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def to_line(row: dict[str, Any]) -> str:
    """A row for people: verdict, file, reason."""
    return f"{row['verdict']:5} {row['file']}" + (f"  {row['reason']}" if row["reason"] else "")


def to_json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _row(name: str, outcome: Keep | Drop | Fail) -> dict[str, Any]:
    verdict, reason = ("keep", None) if isinstance(outcome, Keep) else ("drop", outcome.reason)
    measures = {} if isinstance(outcome, Fail) else outcome.row["measures"]
    return {"file": name, "verdict": verdict, "reason": reason, "measures": measures}
