"""All comparisons of a parity folder."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import torch

from pipeline.contracts.errors import ContractError
from pretrain.parity.evaluation import evaluation_checks
from pretrain.parity.fixture import Check, Fixture
from pretrain.parity.losses import gradient_checks, loss_checks
from pretrain.parity.misc import misc_checks
from pretrain.parity.model import checkpoint_checks, full_size_checks, output_checks
from pretrain.parity.texts import text_checks

Group = tuple[tuple[str, ...], Callable[[Fixture], list[Check]]]
GROUPS: tuple[Group, ...] = (
    (("model.safetensors",), checkpoint_checks),
    ((), full_size_checks),
    (("inputs.safetensors", "outputs.safetensors", "losses.json"), output_checks),
    (("inputs.safetensors", "losses.json"), loss_checks),
    (("inputs.safetensors", "losses.json", "grads.safetensors"), gradient_checks),
    (("inputs.safetensors", "text.json", "vocab.txt"), text_checks),
    (("inputs.safetensors", "eval.safetensors", "eval.json"), evaluation_checks),
    (("misc.safetensors", "misc.json"), misc_checks),
)
"""The files that a group reads, and the group. A group whose files are absent is left out."""


def run_parity(folder: Path) -> list[Check]:
    """Every comparison that the folder allows. Raises ContractError if the folder is no fixture or a file lacks what it should hold."""
    torch.set_num_threads(1)  # golden numbers were made with one thread
    return run_groups(Fixture(folder), GROUPS)


def run_groups(fixture: Fixture, groups: Sequence[Group]) -> list[Check]:
    """The comparisons of the groups whose files are there."""
    checks: list[Check] = []
    for files, group in groups:
        if all(fixture.has(name) for name in files):
            try:
                checks += group(fixture)
            except KeyError as err:
                raise ContractError(f"{fixture.folder}: {', '.join(files)} lack {err}; this is no whole parity set of APTM") from err
    return checks


def tell(checks: Sequence[Check], as_json: bool) -> int:
    """Print the comparisons; the exit code, 1 if one failed."""
    num_failed = sum(not check.passed for check in checks)
    if as_json:
        rows = [{"name": c.name, "max_abs_error": c.error, "tolerance": c.tolerance, "pass": c.passed} for c in checks]
        click.echo(json.dumps({"passed": num_failed == 0, "num_failed": num_failed, "checks": rows}))
    else:
        for check in checks:
            click.echo(f"{'pass' if check.passed else 'FAIL'}  {check.error:9.2e}  {check.name}")
        click.echo(f"{len(checks) - num_failed} of {len(checks)} comparisons pass")
    return int(num_failed > 0)
