"""From generate.model to a loaded pipeline of diffusers: which folder, which weight files in it, which class."""

import json
from pathlib import Path
from typing import Any

from generation.backends.attention import check_attention_of_parts
from generation.backends.model_files import check_variant, find_model, find_variant, load_errors, weights_sha256
from generation.backends.schedulers import check_family, check_scheduler
from generation.config import GenerateConfig
from pipeline.contracts.errors import ConfigError, first_line

_OTHER_TASKS = ("Img2Img", "Inpaint", "ControlNet")  # in the name of the class that saved a checkpoint


def check_settings(config: GenerateConfig) -> None:
    """All that can be said of the settings before a model is fetched or loaded. Raises ConfigError."""
    if config.negative_prompt and config.guidance <= 1:
        raise ConfigError(
            f"generate.negative_prompt={config.negative_prompt!r}; accepted: an empty one with generate.guidance={config.guidance}, "
            "which reads none, or guidance above 1"
        )
    _, is_folder = find_model(config.model, "generate.model", "diffusion", "model_index.json")
    if is_folder:
        PipelineFiles(config)
        return
    if config.scheduler is not None:
        check_scheduler(config.scheduler)
    check_attention_of_parts(config.attention, {})


class PipelineFiles:
    """The folder of generate.model, downloaded first if it is a name on the hub, and the variant of the weight files that is used."""

    def __init__(self, config: GenerateConfig) -> None:
        """Raises ConfigError for a missing folder, for a name that the hub does not have or that cannot be reached, and for settings that
        this model does not take: its variants, its parts, its scheduler. Loads nothing."""
        name, is_folder = find_model(config.model, "generate.model", "diffusion", "model_index.json")
        if is_folder and config.revision is not None:
            raise ConfigError(f"generate.revision={config.revision!r}, but generate.model={config.model!r} is a folder; accepted: null")
        self._config = config
        self._folder = name if is_folder else _fetched(name, config)
        self._index = _json_object(Path(self._folder) / "model_index.json", config.model)
        self._classes = {name: part[1] for name, part in self._index.items() if isinstance(part, list) and part[1:] and part[1]}
        names = _names(Path(self._folder))
        if config.variant is not None:
            check_variant(config.variant, names)
        self._variant = config.variant or find_variant(names)
        self._check_parts()

    def _check_parts(self) -> None:
        config = self._config
        if config.safety_checker and "safety_checker" not in self._classes:
            raise ConfigError(
                f"generate.safety_checker=true, but generate.model={config.model!r} ({self._index.get('_class_name')}) has none; "
                "accepted: false, or a checkpoint that holds one"
            )
        if config.scheduler is not None and (own := self._classes.get("scheduler")):
            settings = _json_object(Path(self._folder) / "scheduler" / "scheduler_config.json", config.model)
            check_family(config.scheduler, own, settings)
        check_attention_of_parts(config.attention, self._classes)

    @property
    def provenance(self) -> dict[str, Any]:
        """weights_sha256; the commit of a model from the hub; variant where it is not the plain one."""
        folder = Path(self._folder)
        revision = folder.name if folder.parent.name == "snapshots" else None  # so the hub's cache names what it has fetched
        said = {"revision": revision, "variant": self._variant}
        return {"weights_sha256": weights_sha256(self._folder, self._variant), **{k: v for k, v in said.items() if v is not None}}

    def has_transformer(self) -> bool:
        """Flux, SANA, Qwen-Image and their kin, which are trained and published in bfloat16; those with a UNet in float16."""
        return "transformer" in self._classes

    def load(self, dtype: Any) -> Any:
        """Raises ConfigError if the folder does not load as a pipeline that draws from text."""
        from diffusers import DiffusionPipeline

        options: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "use_safetensors": True, "variant": self._variant}
        if "safety_checker" in self._index and not self._config.safety_checker:
            options |= {"safety_checker": None, "requires_safety_checker": False}
        try:
            if any(task in self._index["_class_name"] for task in _OTHER_TASKS):
                return _as_text_to_image(self._folder, options)
            return DiffusionPipeline.from_pretrained(self._folder, **options)
        except load_errors() as err:
            name = Path(self._folder).name
            raise ConfigError(
                f"generate.model={self._config.model!r}: {name} does not load as a text-to-image pipeline ({first_line(err)}); "
                "the folder must hold all parts that its model_index.json names, weights in safetensors"
            ) from err


def _json_object(file: Path, model: str) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError) as err:
        raise ConfigError(f"generate.model={model!r}: {file} cannot be read ({first_line(err)}); copy the folder again") from err
    if not isinstance(data, dict):
        raise ConfigError(f"generate.model={model!r}: {file} holds a {type(data).__name__}; accepted: an object, as diffusers writes it")
    return data


def _fetched(name: str, config: GenerateConfig) -> str:
    """A second look at the hub only where there are no plain weights: every task of an array asks it."""
    from diffusers import DiffusionPipeline

    def fetch(variant: str | None) -> str:
        return str(DiffusionPipeline.download(name, use_safetensors=True, variant=variant, revision=config.revision))

    try:
        try:
            return fetch(config.variant)
        except OSError:  # what diffusers raises, among others, for parts without plain weights
            variant = None if config.variant else find_variant(_listing(name, config.revision))
            if variant is None:
                raise
            return fetch(variant)
    except ConfigError:
        raise
    except Exception as err:  # many kinds: no such name, no network, no permission, no safetensors
        raise ConfigError(
            f"generate.model={name!r} is no folder here, and fetching it from the model hub failed ({first_line(err)}); "
            "accepted: embedded, a folder in diffusers layout, a name on the hub"
        ) from err


def _listing(name: str, revision: str | None) -> list[str]:
    """Paths of a model's files: as the hub's cache remembers them, so that a node without network finds what was fetched, else asked."""
    from huggingface_hub import get_cached_repo_tree, list_repo_files
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return [file.path for file in get_cached_repo_tree(name, revision=revision)]
    except CachedRepoTreeNotFoundError:
        return list(list_repo_files(name, revision=revision))


def _as_text_to_image(folder: str, options: dict[str, Any]) -> Any:
    """The family's text-to-image class over the weights of another task. Imports every family: half a second that others need not wait."""
    from diffusers import AutoPipelineForText2Image, DiffusionPipeline

    try:
        return AutoPipelineForText2Image.from_pretrained(folder, **options)
    except ValueError:  # a class that the automatic choice does not list
        return DiffusionPipeline.from_pretrained(folder, **options)


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")]
