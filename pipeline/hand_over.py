"""Verbs of `passerby` that other packages do: it hands over to `python -m generation|pretrain|finetune`."""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import click

from pipeline.entry import TYPED_AS

VERBS = {  # verb: (module, arguments in front, whether the first plain argument is a config, help)
    "check-images": ("generation", ("check-images",), False, "Verdict, reason and measures of the filter for a folder of pictures."),
    "annotate-text": ("generation", ("annotate-text",), False, "Captions in a file to 27 attribute labels, as JSONL."),
    "check-leak": ("generation", ("check-leak",), False, "Do prompts repeat captions of a test set? Exact, normalised, contained, near."),
    "redecide": ("generation", ("redecide",), False, "Other filter thresholds from stored measures: shows what changes, --yes does it."),
    "regenerate": ("generation", ("regenerate",), False, "One picture of a run again, from its key."),
    "why": ("generation", ("why",), False, "Why a picture of a run was kept or dropped, stage by stage, from its key."),
    "import-mals": ("generation", ("import-mals",), False, "Shards from a download of MALS."),
    "export-mals": ("generation", ("export-mals",), False, "Samples in the published layout of MALS."),
    "export-hf": ("generation", ("export-hf",), False, "A folder for Hugging Face datasets, with a data card."),
    "pretrain": ("pretrain", ("train",), True, "Pre-train APTM on shards."),
    "evaluate": (
        "pretrain",
        ("evaluate",),
        True,
        "Score a checkpoint: on held-out shards, or directly on a benchmark's folder (then also --split, --cost).",
    ),
    "import-checkpoint": ("pretrain", ("import-checkpoint",), False, "Published APTM, Swin or BERT weights to a checkpoint folder."),
    "export-checkpoint": ("finetune", ("export",), False, "A checkpoint as a folder to give away, with a model card."),
    "parity": ("finetune", ("parity",), False, "Compare this code with a folder of golden numbers."),
    "finetune": ("finetune", ("train",), True, "Fine-tune a checkpoint on a retrieval data set."),
    "verify-data": ("finetune", ("verify-data",), False, "What the folder of a benchmark lacks, and where it belongs."),
    "index": ("finetune", ("index",), False, "Embed a folder of pictures for searching."),
    "search": ("finetune", ("search",), False, "A sentence to pictures of an index."),
    "challenge": ("finetune", ("challenge",), False, "Labels, predictions, submission and score of the challenge."),
}


def command(verb: str) -> click.Command:
    """`passerby VERB`: what it is given goes on as it is."""
    module, front, takes_config, text = VERBS[verb]

    @click.command(verb, help=text, add_help_option=False, context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def hand_over(arguments: tuple[str, ...]) -> int:
        from pipeline import children

        chosen = evaluation_module(arguments) if verb == "evaluate" else module
        if verb == "redecide" and "--yes" in arguments:
            refuse_redecide(arguments)
        if front == (verb,):  # the usage line of `passerby VERB --help` then names what was typed
            os.environ[TYPED_AS] = "passerby"
        try:
            return children.hand_over(hand_over_command(chosen, front, takes_config, arguments))
        finally:
            os.environ.pop(TYPED_AS, None)

    return hand_over


def refuse_redecide(arguments: Sequence[str]) -> None:
    """Raises ConfigError if tasks in Slurm's queue would meet other thresholds half-way. Asked here: a stage package knows no queue."""
    import argparse

    from pipeline.describe import describe
    from pipeline.slurm.guard import refuse_queued

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    given, _ = parser.parse_known_args(arguments)
    if given.source is not None and "--help" not in arguments:
        refuse_queued(describe(given.source, given.overrides))


def evaluation_module(arguments: Sequence[str]) -> str:
    """Who evaluates: `finetune` for recipes whose data are a benchmark's folder (data.folder), else `pretrain` (data.shards)."""
    from pipeline.config import of_training, read_yaml
    from pipeline.contracts.errors import ConfigError

    split = [part for argument in arguments for part in (argument.split("=", 1) if argument.startswith("--") else [argument])]
    named = pairwise(["", *split])
    words = [word for before, word in named if not word.startswith("-") and before not in ("--checkpoint", "--set", "--split")]
    try:
        tree = read_yaml(of_training(Path(words[0]))[0]) if words else {}
    except ConfigError:
        tree = {}  # the module says what is wrong with it
    data = tree.get("data")
    return "finetune" if isinstance(data, dict) and "folder" in data else "pretrain"


def training_report_command(run_folder: Path, out: Path | None) -> list[str]:
    """The command behind `passerby report` of a training's folder."""
    return [sys.executable, "-m", "pretrain", "report", str(run_folder), *(("--out", str(out)) if out else ())]


def hand_over_command(module: str, front: Sequence[str], takes_config: bool, arguments: Sequence[str]) -> list[str]:
    """The command behind a verb: `passerby pretrain C --set a=1` is `python -m pretrain train --config C --set a=1`."""
    named = takes_config and arguments and not arguments[0].startswith("-")
    return [sys.executable, "-m", module, *front, *(("--config",) if named else ()), *arguments]
