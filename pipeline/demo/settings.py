"""What the demo runs: three recipes, what is set on top of them, and the seeds of the comparison."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipeline.contracts.errors import ConfigError

_NEEDED = ("torch", "diffusers", "transformers", "mediapipe", "webdataset", "deepspeed", "jinja2", "matplotlib", "PIL")
CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """Defaults are the demo; another file of settings makes it larger or smaller. Relative recipe names start at the checkout."""

    generation: str = "configs/generation/demo.yaml"
    pretrain: str = "configs/pretrain/demo.yaml"
    finetune: str = "configs/finetune/embedded.yaml"
    generation_set: tuple[str, ...] = ()  # `--set` items for every command of that package
    pretrain_set: tuple[str, ...] = ()
    finetune_set: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)  # of the fine-tunings; each is done with and without pre-training
    miniature_seed: int = 0

    def __post_init__(self) -> None:
        if len(self.seeds) < 2 or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds={list(self.seeds)}; accepted: at least two different ones, because a spread is reported")

    def check(self) -> None:
        """Raises ConfigError for a recipe or a package that is not there, before minutes are spent and anything is written."""
        if missing := [name for name in _NEEDED if find_spec(name) is None]:
            raise ConfigError(f"packages {', '.join(missing)} are not installed; pip install --editable '.[generation,pretrain,report]'")
        for package in ("generation", "pretrain", "finetune"):
            self.recipe(package)

    def recipe(self, package: str) -> Path:
        """The recipe of generation, pretrain or finetune. Raises ConfigError if there is no such file."""
        path = CHECKOUT / str(getattr(self, package))
        if not path.is_file():
            raise ConfigError(
                f"recipe {path} does not exist; the demo needs the configs/ folder of the checkout (pip install --editable .)"
            )
        return path
