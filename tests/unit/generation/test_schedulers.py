"""Schedulers by name: those that fit the checkpoint's own, with its settings."""

from typing import Any

import diffusers
import pytest
import torch

from generation.backends.schedulers import make_scheduler
from pipeline.contracts.errors import ConfigError


def of(name: str, **settings: Any) -> Any:
    return getattr(diffusers, name)(**settings)


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ("FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler"),
        ("FlowMatchEulerDiscreteScheduler", "DDIMScheduler"),
        ("FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"),
        ("DDIMScheduler", "FlowMatchEulerDiscreteScheduler"),
        ("DDIMScheduler", "DPMSolverSDEScheduler"),
        ("DDIMScheduler", "EDMEulerScheduler"),
        ("DDIMScheduler", "KarrasVeScheduler"),
        ("DDIMScheduler", "VQDiffusionScheduler"),
    ],
)
def test_a_scheduler_of_another_family_is_refused(own: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"generate\.scheduler='{name}' is not for this model, whose own is {own}; accepted: .*Euler"):
        make_scheduler(name, of(own))


def test_the_checkpoints_own_is_accepted_whatever_its_family() -> None:
    made = make_scheduler("CMStochasticIterativeScheduler", of("CMStochasticIterativeScheduler", sigma_max=70.0))
    assert made.config.sigma_max == 70.0


def test_settings_of_the_checkpoint_stay() -> None:
    made = make_scheduler("EulerDiscreteScheduler", of("DDIMScheduler", beta_start=0.001, prediction_type="v_prediction"))
    assert (made.config.beta_start, made.config.prediction_type) == (0.001, "v_prediction")


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
def test_a_solver_on_a_flow_model_solves_its_flow_at_its_shift(name: str) -> None:
    own = of("FlowMatchEulerDiscreteScheduler", shift=7.0)
    made = make_scheduler(name, own)
    own.set_timesteps(50)
    made.set_timesteps(50)
    assert made.config.prediction_type == "flow_prediction"
    assert torch.abs(made.sigmas - own.sigmas).max() < 0.1  # 0.08: the last steps are cut differently; unshifted it is 0.44
    back = make_scheduler("FlowMatchEulerDiscreteScheduler", made)
    back.set_timesteps(50)
    assert torch.equal(back.sigmas, own.sigmas)
