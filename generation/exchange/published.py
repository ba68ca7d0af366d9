"""What an export says of how its data were made: samples and recipe of a run, without the places of files on the machine it ran on."""

import os
from dataclasses import replace
from operator import attrgetter
from pathlib import Path, PureWindowsPath
from typing import Any

from generation.backends.model_files import model_name, without_place
from generation.config import GenerationConfig
from generation.digests import stage_digests
from generation.recipes import load_started
from pipeline.config import changed_fields, to_dict, to_yaml
from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import ShardManifest
from pipeline.contracts.sample import SampleMeta
from pipeline.paths import RunPaths

RECIPE_FILE = "recipe.yaml"


def published_meta(meta: SampleMeta) -> SampleMeta:
    """The sample with the names of its models as they are written now: earlier runs stored the paths of their folders."""
    return replace(meta, generator=_named(meta.generator), captioner=_named(meta.captioner))


def recipe_of(run: Path, manifest: ShardManifest) -> str | None:
    """The text of recipe.yaml for an export of this run's shards; None where the folder holds no config.yaml.

    Raises ConfigError or ContractError where config.yaml is none of this version, was changed since the shards were made, or cannot be
    compared with them because a file that it names is gone.
    """
    paths = RunPaths(run)
    if not paths.config.is_file():
        return None
    config = load_started(run)
    if (found := stage_digests(config)["shard"]) != manifest.config_digest:
        raise ContractError(
            f"{paths.config}, a file it names or a rule of passerby changed since passerby {manifest.code_version} made the shards (their "
            f"config digest is {manifest.config_digest}, now {found}); go back to the old ones and export again"
        )
    config = replace(config, run=replace(config.run, folder=None))
    public = without_places(config)
    lines = [
        f"Every setting of a data set made by passerby {manifest.code_version} (config digest {manifest.config_digest}). To make it again,",
        "and then any one picture of it by its key:",
        f"  passerby run {RECIPE_FILE}",
        f"  passerby regenerate runs/{config.run.name} KEY",
    ]
    if cut := changed_fields(to_dict(config), to_dict(public)):
        lines.append(f"Files and folders are named without their place (the digest is that with it): {', '.join(cut)}.")
        lists = [name for name in cut if isinstance(attrgetter(name)(public), tuple)]
        if places := [f"--set {name}=PATH" for name in cut if name not in lists]:
            lines.append(f"Put yours here, or say where they are: {' '.join(places)}")
        if lists:
            lines.append(f"Edit these lines of this file, which hold lists: {', '.join(lists)}")
    return "".join(f"# {line}\n" for line in lines) + to_yaml(public)


def without_places(config: GenerationConfig) -> GenerationConfig:
    """The same settings, files and folders by their last part; relative paths of prompt files stay, they say which data set."""
    prompts, generate, filtering = config.prompts, config.generate, config.filter
    file = _prompts(prompts.file) if isinstance(prompts.file, str) else prompts.file and tuple(map(_prompts, prompts.file))
    return replace(
        config,
        prompts=replace(prompts, file=file, check_against=tuple(map(_prompts, prompts.check_against))),
        generate=replace(generate, model=model_name(generate.model), lora=generate.lora and PureWindowsPath(generate.lora).name),
        filter=replace(
            filtering,
            pose_model=PureWindowsPath(filtering.pose_model).name,
            plugins=tuple(replace(plugin, model=model_name(plugin.model)) for plugin in filtering.plugins),
        ),
        caption=replace(config.caption, model=model_name(config.caption.model)),
    )


def _prompts(file: str) -> str:
    path = os.path.normpath(file)
    pure = PureWindowsPath(path)
    return pure.name if pure.anchor or path.startswith((".", "~")) else path


def _named(provenance: dict[str, Any]) -> dict[str, Any]:
    model = provenance.get("model")
    return {**provenance, "model": without_place(model)} if isinstance(model, str) else provenance
