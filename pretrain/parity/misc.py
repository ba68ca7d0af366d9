"""Relative position tables, schedules, augmentation and test preprocessing."""

import re
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from pretrain import augment
from pretrain.models.relative_bias import resize_bias_table
from pretrain.optim import lr_factor
from pretrain.parity.fixture import Check, Fixture, close
from pretrain.pictures import resized
from pretrain.settings import AugmentConfig

_TABLE = re.compile(r"relpos_w\d+_to_w(\d+)_in")
OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    "Identity": augment.identity,
    "AutoContrast": augment.autocontrast_published,
    "Equalize": augment.equalize,
    "Brightness": augment.brightness,
    "Sharpness": augment.sharpness,
    "ShearX": augment.shear_x,
    "ShearY": augment.shear_y,
    "TranslateX": augment.translate_x,
    "TranslateY": augment.translate_y,
    "Rotate": augment.rotate,
}


def misc_checks(fixture: Fixture) -> list[Check]:
    tensors, facts = fixture.tensors("misc.safetensors"), fixture.json("misc.json")
    checks = []
    for name, table in tensors.items():
        if match := _TABLE.fullmatch(name):
            ours = torch.from_numpy(resize_bias_table(table.numpy(), int(match[1])))
            checks.append(close(f"misc/{name.removesuffix('_in')}", ours, tensors[f"{name.removesuffix('_in')}_out"]))
    for case in facts["schedules"]:
        total, golden = case["num_training_steps"], torch.tensor(case["factor_at_step"], dtype=torch.float64)
        factors = [lr_factor(step, total, case["num_warmup_steps"], case["sched"]) for step in range(len(golden))]
        checks.append(close(f"misc/schedule {case['sched']}", torch.tensor(factors, dtype=torch.float64), golden))
    source = tensors["aug_in"].numpy()
    for name, case in facts["augment"]["ops"].items():
        picture = OPERATIONS[case["op"]](source, *case["args"][:1])  # the second argument is the fill colour, a constant here
        checks.append(close(f"misc/{name}", torch.from_numpy(np.ascontiguousarray(picture)), tensors[name], 0.0))
    return [*checks, _preprocessing(tensors, facts["prep"])]


def _preprocessing(tensors: dict[str, torch.Tensor], facts: dict) -> Check:
    config = AugmentConfig(mean=tuple(facts["mean"]), std=tuple(facts["std"]))
    picture = resized(Image.fromarray(tensors["prep_in"].numpy()), facts["h"], facts["w"])
    return close("misc/preprocessing", torch.from_numpy(augment.normalise(picture, config.mean, config.std)), tensors["prep_out"])
