"""Where prompts come from: the attribute-balanced sampler, a plain text file, or a list of captions.

Writes runs/NAME/prompts/units/000000.parquet, one row per prompt; `generate` reads it. Prompt i of a run is fixed by its config alone.
"""

from collections.abc import Sequence
from pathlib import Path

from generation.config import GenerationConfig, PromptsConfig
from generation.prompt_files import read_json_prompts, read_text_prompts
from generation.sampler import sample_look
from generation.sentences import write_sentence
from pipeline.contracts.manifest import Counts
from pipeline.contracts.sample import make_key
from pipeline.contracts.stage import Item, Row
from pipeline.paths import RunPaths
from pipeline.runner import ledger_rows
from pipeline.seeds import derive_seed
from pipeline.tables import read_rows, write_rows

DEFAULT_SAMPLED = 1000
_LICENCES = {"sampler": "CC0-1.0"}  # sentences made by this program; a file's licence is known to its user only


def make_prompts(config: PromptsConfig, seed: int) -> list[str]:
    """All prompt texts of a run, in order. Raises ContractError for an unreadable, empty or wrongly encoded file."""
    if config.kind == "sampler":
        count = config.num_prompts or DEFAULT_SAMPLED
        return [write_sentence(sample_look(seed, i), derive_seed(seed, "prompts", i)) for i in range(count)]
    path = Path(str(config.file))
    texts = read_text_prompts(path) if config.kind == "text" else read_json_prompts(path, config.splits)
    return texts[: config.num_prompts]


def count_prompts(config: PromptsConfig) -> int:
    """len(make_prompts(...)), without writing the sampler's sentences."""
    return (config.num_prompts or DEFAULT_SAMPLED) if config.kind == "sampler" else len(make_prompts(config, 0))


def prompt_rows(config: PromptsConfig, seed: int) -> list[Row]:
    """Rows of the prompt table. pid: images of one prompt show one person; view: unknown before a picture is there."""
    source = config.source or ("sampler" if config.kind == "sampler" else Path(str(config.file)).name)
    licence = config.licence or _LICENCES.get(config.kind, "unknown")
    return [
        {
            "key": make_key(index, 0),
            "status": "kept",
            "reason": None,
            "prompt_index": index,
            "prompt": text,
            "source": source,
            "licence": licence,
            "pid": index,
            "view": None,
        }
        for index, text in enumerate(make_prompts(config, seed))
    ]


def write_prompts(config: GenerationConfig, paths: RunPaths) -> tuple[Counts, list[Path]]:
    """The `make` of the single stage "prompts"."""
    rows = prompt_rows(config.prompts, config.run.seed)
    table, ledger = paths.units("prompts", 0, "parquet"), paths.ledger("prompts", 0)
    write_rows(table, rows)
    write_rows(ledger, ledger_rows(rows))
    return Counts(seen=len(rows), kept=len(rows), dropped=0, failed=0), [table, ledger]


def image_items(prompts: Sequence[Row], unit: int, unit_size: int, variants: int) -> list[Item]:
    """The items of unit `unit` of generate: images unit * unit_size and following; image i shows prompt i // variants."""
    first = unit * unit_size
    images = range(first, min(first + unit_size, len(prompts) * variants))
    return [_image_item(prompts[image // variants], image % variants) for image in images]


def read_prompt_rows(paths: RunPaths) -> list[Row]:
    """The prompt table of a run."""
    return read_rows(paths.units("prompts", 0, "parquet"))


def _image_item(row: Row, variant: int) -> Item:
    key = make_key(row["prompt_index"], variant)
    return Item(key, {**row, "key": key})
