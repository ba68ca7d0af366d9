"""All comparisons of a folder of golden numbers: the challenge's systems here, APTM's in `pretrain.parity`."""

from collections.abc import Callable
from pathlib import Path

from finetune.parity.blip import blip_checks
from finetune.parity.evaluation import irra_rank_checks, official_checks, winner_rank_checks
from finetune.parity.fixture import ChallengeFixture
from finetune.parity.irra import group_checks, schedule_checks, tiny_model_checks, token_checks
from finetune.parity.losses import irra_loss_checks, winner_loss_checks
from pipeline.contracts.errors import ContractError
from pretrain.parity.fixture import Check, Fixture

GROUPS: tuple[tuple[tuple[str, ...], Callable[[ChallengeFixture], list[Check]]], ...] = (
    (("irra_losses.npz",), irra_loss_checks),
    (("winner_ac_irm.npz",), winner_loss_checks),
    (("irra_rank.npz",), irra_rank_checks),
    (("winner_rank.npz",), winner_rank_checks),
    (("official_map.json",), official_checks),
    (("blip_itc_itm.npz",), blip_checks),
    (("captions.json", "tokens.npz"), token_checks),
    (("schedule_pos.npz",), schedule_checks),
    (("param_groups.json",), group_checks),
    (("tiny_irra.npz",), tiny_model_checks),
)
"""The files that a group reads, and the group. A group whose files are absent is left out."""


def is_challenge(folder: Path) -> bool:
    """Does the folder hold golden numbers of the challenge? param_groups.json alone does not say so: both layouts have one."""
    names = {name for files, _ in GROUPS for name in files} - {"param_groups.json"}
    return any((folder / name).is_file() for name in names)


def is_aptm(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


def run_challenge_parity(folder: Path) -> list[Check]:
    """Every comparison that the folder allows. Raises ContractError if a file lacks what it should hold."""
    fixture = ChallengeFixture(folder)
    checks: list[Check] = []
    for files, group in GROUPS:
        if all(fixture.has(name) for name in files):
            try:
                checks += group(fixture)
            except (KeyError, TypeError, IndexError) as err:
                raise ContractError(
                    f"{folder}: {', '.join(files)} are not of the form of this fixture ({type(err).__name__}: {err})"
                ) from err
    return checks


def run(folder: Path) -> list[Check]:
    """The comparisons of either layout, or of both. Raises ContractError for a folder that holds neither."""
    if not is_challenge(folder) and not is_aptm(folder):
        raise ContractError(
            f"{folder} holds no golden numbers: neither model.safetensors and config.json (APTM) nor any file of the challenge's"
        )
    checks: list[Check] = []
    if is_aptm(folder):
        from finetune.parity.aptm import finetuning_checks
        from pretrain.parity.report import run_groups, run_parity

        checks += run_parity(folder)
        checks += run_groups(Fixture(folder), [(("text.json",), finetuning_checks)])
    return checks + (run_challenge_parity(folder) if is_challenge(folder) else [])
