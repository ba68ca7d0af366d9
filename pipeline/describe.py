"""What a config asks for, by asking `python -m generation describe`: orchestration reads the answer and never imports a stage."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import graph
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.paths import RunPaths, of_run

GENERATION = (sys.executable, "-m", "generation")
_OWN_NAMES = re.compile(r"^(?:Error: )?(?:\w+Error: )?")
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A resolved run: what to make, where, and the digest that each stage's done records must carry."""

    config: dict[str, Any]
    paths: RunPaths
    num_units: int
    num_images: int
    digests: dict[str, str]  # stage -> config digest, in the order of the flow
    checks: dict[str, str] = field(default_factory=dict)  # stage -> the check that its output must have passed (completion.is_checked)

    @property
    def execution(self) -> str:
        """staged: a worker makes one stage; fused: all of the chain. Of this start only: the files are the same."""
        return str(self.config.get("run", {}).get("execution", "staged"))

    def units(self, spec: graph.StageSpec) -> range:
        return range(graph.num_units(spec, self.num_units))

    def sources(self, spec: graph.StageSpec, unit: int) -> list[tuple[str, int]]:
        return graph.sources(spec, unit, self.num_units)


def describe(config: Path, overrides: Sequence[str] = (), meanwhile: Callable[[], None] | None = None) -> RunPlan:
    """Raises ConfigError with the words of the stage package if it refuses the config, StageError if it breaks.

    meanwhile: called while the stage package is at it.
    """
    file, items = of_run(config, overrides)
    argv = [*GENERATION, "describe", "--config", str(file), *(part for item in items for part in ("--set", item))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:  # noqa: S603 -- argv list, no shell
        try:
            if meanwhile is not None:
                meanwhile()
            stdout, stderr = child.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as err:
            child.kill()
            raise StageError(f"`python -m generation describe` gave no answer for {file} in {_TIMEOUT_S} s") from err
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0:
        lines = stderr.strip().splitlines() or [f"`{' '.join(argv)}` ended with {child.returncode}"]
        if child.returncode == ConfigError.exit_code:
            raise ConfigError(_OWN_NAMES.sub("", "\n".join(lines)))
        raise StageError("\n".join(lines[-20:]))
    return parse_answer(stdout)


def parse_answer(text: str) -> RunPlan:
    """The JSON that describe prints. Raises ContractError if a part is missing or the stages are not those of the graph."""
    try:
        answer = json.loads(text)
        run, digests = answer["run"], {stage["name"]: stage["digest"] for stage in answer["stages"]}
        plan = RunPlan(
            config=answer["config"],
            paths=RunPaths(Path(run["folder"])),
            num_units=run["num_units"],
            num_images=run["num_images"],
            digests=digests,
            checks={stage["name"]: stage["check"] for stage in answer["stages"] if stage.get("check")},
        )
    except (ValueError, KeyError, TypeError) as err:
        raise ContractError(f"`python -m generation describe` answered {text[:200]!r}, which lacks or breaks {err}") from err
    if list(digests) != [spec.name for spec in graph.STAGES]:
        raise ContractError(f"`python -m generation describe` names stages {', '.join(digests)}; the graph has others (pipeline/graph.py)")
    return plan
