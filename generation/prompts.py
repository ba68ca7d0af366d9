"""Where prompts come from: the attribute-balanced sampler, plain text, caption lists of retrieval data sets, or tables.

Writes runs/NAME/prompts/units/000000.parquet, one row per prompt; `generate` reads it. Prompt i of a run is fixed by its config alone.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from generation.config import GenerationConfig, PromptsConfig
from generation.prompt_files import PromptText
from generation.prompt_texts import make_counted, make_prompts
from pipeline.completion import is_checked, mark_checked
from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import Counts
from pipeline.contracts.sample import make_key
from pipeline.contracts.stage import Item, Row
from pipeline.fileio import write_json
from pipeline.paths import RunPaths
from pipeline.tables import StoredRows, read_columns, write_rows
from pipeline.unit_files import ledger_rows

log = logging.getLogger(__name__)

_LICENCES = {"sampler": "CC0-1.0"}  # sentences made by this program; a file's licence is known to its user only


def prompt_rows(config: PromptsConfig, seed: int) -> list[Row]:
    """Rows of the prompt table."""
    return _rows(config, make_prompts(config, seed))


def _rows(config: PromptsConfig, prompts: Iterable[PromptText]) -> list[Row]:
    """pid: images of one prompt show one person; view: unknown before a picture is there."""
    return [
        {
            "key": make_key(index, 0),
            "status": "kept",
            "reason": None,
            "prompt_index": index,
            "prompt": prompt.text,
            "source": prompt.source,
            "licence": prompt.licence or "unknown",
            "pid": index,
            "view": None,
        }
        for index, prompt in enumerate(with_provenance(config, prompts))
    ]


def with_provenance(config: PromptsConfig, prompts: Iterable[PromptText]) -> Iterator[PromptText]:
    """Prompts with source and licence as they go into every sample: the recipe overrules what a file says. licence: None for unknown."""
    for prompt in prompts:
        source = config.source or prompt.source or config.kind
        yield PromptText(prompt.text, source, config.licence or prompt.licence or _LICENCES.get(config.kind))


def refuse_leaks(config: PromptsConfig, prompts: Sequence[str]) -> None:
    """Compare prompts with the test captions of `check_against`. Raises ContractError on a leak unless `allow_leak` is set."""
    if not config.check_against:
        return
    from generation.leak import find_leaks, summary

    leaks = find_leaks(prompts, config.check_against, config.max_similarity)
    if not leaks:
        log.info("%d prompts, none in %s", len(prompts), ", ".join(config.check_against))
        return
    first = leaks[0]
    text = (
        f"{len(leaks)} of {len(prompts)} prompts stand in test captions ({summary(leaks)}), first: prompt {first.index} {first.prompt!r} "
        f"~ {first.caption!r} of {first.file}"
    )
    if not config.allow_leak:
        raise ContractError(
            f"{text}; `passerby check-leak` lists them and writes a clean file (--clean), prompts.allow_leak=true starts anyway"
        )
    log.warning("%s; prompts.allow_leak is set", text)


def warn_of_nobody(config: GenerationConfig, prompts: Sequence[str]) -> None:
    """One line in the log for all prompts that, with what is put around them, name no person: a comment or a heading of a file, say."""
    from generation.annotation.mentions import names_person

    prefix, suffix = config.generate.prefix, config.generate.suffix
    if found := [(index, text) for index, text in enumerate(prompts) if not names_person(prefix + text + suffix)]:
        index, text = found[0]
        log.warning(
            "%d of %d prompts name no person, first: prompt %d %.80r; they stay prompts: take them out of the file, or name one in "
            "generate.prefix",
            *(len(found), len(prompts), index, text),
        )


def check_prompts(config: GenerationConfig, paths: RunPaths, check: str | None) -> None:
    """refuse_leaks for a table that was written before the check (digests.check_digest) was asked for; nothing if it has passed it."""
    if is_checked(paths, "prompts", check):
        return
    refuse_leaks(config.prompts, read_columns(_table(paths), ["prompt"])["prompt"])
    mark_checked(paths, "prompts", check)


def write_prompts(config: GenerationConfig, paths: RunPaths) -> tuple[Counts, list[Path]]:
    """The `make` of the single stage "prompts"."""
    prompts, reading = make_counted(config.prompts, config.run.seed)
    rows = _rows(config.prompts, prompts)
    refuse_leaks(config.prompts, [row["prompt"] for row in rows])
    if reading is not None:
        log.info("%s held %s", ", ".join(config.prompts.files), reading)
        write_json(paths.prompts_read, reading._asdict())
        warn_of_nobody(config, [row["prompt"] for row in rows])
    table, ledger = _table(paths), paths.ledger("prompts", 0)
    write_rows(table, rows)
    write_rows(ledger, ledger_rows(rows))
    return Counts(seen=len(rows), kept=len(rows), dropped=0, failed=0), [table, ledger]


def image_items(prompts: Sequence[Row], unit: int, unit_size: int, variants: int) -> list[Item]:
    """The items of unit `unit` of generate: images unit * unit_size and following; image i shows prompt i // variants."""
    first = unit * unit_size
    images = range(first, min(first + unit_size, len(prompts) * variants))
    return [_image_item(prompts[image // variants], image % variants) for image in images]


def read_prompt_rows(paths: RunPaths) -> Sequence[Row]:
    """The prompt table of a run."""
    return StoredRows(_table(paths))


def _table(paths: RunPaths) -> Path:
    return paths.units("prompts", 0, "parquet")


def _image_item(row: Row, variant: int) -> Item:
    key = make_key(row["prompt_index"], variant)
    return Item(key, {**row, "key": key})
