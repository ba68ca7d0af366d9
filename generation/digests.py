"""What a run is: numbers of prompts and images, and the digest of each stage's config that its done records must carry."""

from pathlib import Path
from typing import Any

from generation.annotation.lexicon import RULES_FILE
from generation.backends.captioner_files import max_new_tokens
from generation.backends.model_files import find_model, weights_sha256
from generation.backends.pipeline_files import check_settings
from generation.config import EMBEDDED, GenerationConfig, PromptsConfig
from generation.run_size import num_prompts, units_of_prompts
from generation.stages import STAGES
from pipeline.config import to_dict
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import digest, sha256_file

_NO_RESULT = {  # fields that say how fast, where, or whether to start at all, but not what comes out; pixels may change by rounding
    "prompts": ("check_against", "max_similarity", "allow_leak"),
    "generate": ("batch_size", "device"),
    "filter": ("num_workers", "batch_size"),
    "caption": ("batch_size", "device"),
}


def stage_digests(config: GenerationConfig) -> dict[str, str]:
    """stage -> digest over its section, the files it names, every stage before it, and the run's seed and unit size.

    Raises ConfigError or ContractError if a model folder or the prompt file is missing: before anything is queued.
    """
    _refuse_absent(config)
    digests: dict[str, str] = {}
    before: Any = {"seed": config.run.seed, "unit_size": config.run.unit_size}
    for name in STAGES:
        section = _section(name, getattr(config, name))
        if name == "filter":
            section["plugins"] = [{**plugin, "device": "auto"} for plugin in section["plugins"]]  # as in _NO_RESULT
        if name == "caption":
            section["max_new_tokens"] = _max_new_tokens(config)
        digests[name] = digest({"before": before, "section": section, "files": _named_files(config, name)})
        before = digests[name]
    return digests


def check_digest(config: PromptsConfig, prompts_digest: str) -> str | None:
    """What the prompt table has passed once it was compared with the test captions of `check_against`; None if there are none.

    In no stage's digest: a check that is asked for later makes nothing again, it only looks at the table that is there.
    """
    if not config.check_against:
        return None
    against = [_sha256(Path(file), "prompts.check_against") for file in config.check_against]
    return digest({"prompts": prompts_digest, "against": against, "similarity": config.max_similarity, "allow_leak": config.allow_leak})


def describe(config: GenerationConfig) -> dict[str, Any]:
    """What orchestration asks: the resolved config, sizes, and digests. Loads no model."""
    digests = stage_digests(config)
    checks = {"prompts": check_digest(config.prompts, digests["prompts"])}
    prompts = num_prompts(config, digests["prompts"])
    return {
        "config": to_dict(config),
        "run": {
            "folder": str(config.run.path),
            "unit_size": config.run.unit_size,
            "num_prompts": prompts,
            "num_units": units_of_prompts(config, prompts),
            "num_images": prompts * config.prompts.variants,
        },
        "stages": [{"name": name, "digest": value, "check": checks.get(name)} for name, value in digests.items()],
    }


def _section(stage: str, section: Any) -> dict[str, Any]:
    """What of a stage's settings decides about its result."""
    return {name: value for name, value in to_dict(section).items() if name not in _NO_RESULT.get(stage, ())}


def _named_files(config: GenerationConfig, stage: str) -> str:
    """Hash of what a section only names: the prompt file, the embedded weights, the rules.

    Weights of the user's own models are not read here (gigabytes); their hash stands in every row instead.
    """
    if stage == "prompts":
        if absent := [file for file in config.prompts.check_against if not Path(file).is_file()]:
            raise ContractError(f"prompts.check_against: {', '.join(absent)} does not exist; give the paths of test caption files")
        return " ".join(_sha256(Path(file), "prompts.file") for file in config.prompts.files)
    if stage == "filter":
        own = config.filter.pose_model
        return _model_sha256(own, "filter.pose_model", "embedded, the path of a .task file") if own != EMBEDDED else ""
    if stage == "annotate":
        return sha256_file(RULES_FILE)
    if stage == "generate":
        lora = config.generate.lora
        lora = _model_sha256(lora, "generate.lora", "the path of a .safetensors file") if lora else ""
        return _model_digest(config.generate.model, "generate.model", "diffusion", "model_index.json") + lora
    if stage == "caption":
        return _model_digest(config.caption.model, "caption.model", "captioner", "config.json")
    return ""


def _refuse_absent(config: GenerationConfig) -> None:
    """What a digest does not need, but a stage would miss hours later. Raises ConfigError."""
    check_settings(config.generate)
    for plugin in config.filter.plugins:
        find_model(plugin.model, f"filter.plugins.{plugin.name}.model", None, "config.json")


def _max_new_tokens(config: GenerationConfig) -> int | None:
    """As it will be: a default that depends on the model counts as if it were spelt out. None for a model that is yet to be fetched."""
    folder, is_here = find_model(config.caption.model, "caption.model", "captioner", "config.json")
    return max_new_tokens(config.caption, folder) if is_here else config.caption.max_new_tokens


def _model_digest(configured: str, field: str, embedded: str, marker: str) -> str:
    folder, _ = find_model(configured, field, embedded, marker)
    return weights_sha256(folder) if configured == EMBEDDED else ""


def _model_sha256(name: str, field: str, accepted: str) -> str:
    try:
        return sha256_file(Path(name).expanduser())
    except OSError as err:
        raise ConfigError(f"{field}={name!r} cannot be read ({err.strerror}); accepted: {accepted}") from err


def _sha256(path: Path, field: str) -> str:
    try:
        return sha256_file(path)
    except OSError as err:
        raise ContractError(f"{field}={path} cannot be read ({err.strerror}); give the path of an existing file") from err
