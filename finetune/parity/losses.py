"""IRRA's losses and the winners' AC and IRM, with gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor

from finetune.losses.classification import ac_loss, id_loss, masked_token_loss
from finetune.losses.contrastive import cmpm_loss, infonce_loss
from finetune.losses.matching import Reading, distributions, inclusion, matching_loss, same_identity
from finetune.parity.fixture import FLOAT32, FLOAT64, LABELS_FLOAT32, Arrays, ChallengeFixture, relative
from pretrain.parity.fixture import Check, equal

READINGS: dict[str, Reading] = {
    "irm_reference": "released",
    "irm_rownorm_same": "same",
    "irm_rownorm_transposed": "recommended",
}


def irra_loss_checks(fixture: ChallengeFixture) -> list[Check]:
    golden, checks = fixture.losses, []
    for suffix, dtype, tolerance in (("f32", torch.float32, FLOAT32), ("f64", torch.float64, FLOAT64)):
        ours = _irra_losses(golden, dtype)
        for name, value in ours.items():
            allowed = LABELS_FLOAT32 if name.startswith(("sdm", "cmpm")) and suffix == "f64" else tolerance
            checks.append(relative(f"irra/{name}_{suffix}", value, golden[f"{name}_{suffix}"], allowed))
    return checks + _sdm_gradients(golden)


def winner_loss_checks(fixture: ChallengeFixture) -> list[Check]:
    golden = fixture.arrays("winner_ac_irm.npz")
    match = inclusion(golden["attributes"])
    checks = [equal("winner/inclusion", match.flatten().tolist(), golden["inclusion"].flatten().tolist())]
    for name in golden:
        stem = name.removesuffix("_f64").removesuffix("_f32").removesuffix("_low")
        if stem in READINGS:
            dtype = torch.float64 if name.endswith("_f64") else torch.float32
            scale = float(golden["low_logit_scale" if "_low_" in name else "logit_scale"])
            image, text = _features(golden, dtype)
            loss = matching_loss(image, text, distributions(match.to(dtype), READINGS[stem]), scale)
            checks.append(relative(f"winner/{name}", loss, golden[name], LABELS_FLOAT32 if dtype is torch.float64 else FLOAT32))
    logits = (golden["ac_image_logits"], golden["ac_text_logits"], golden["attributes"])
    return [
        *checks,
        relative("winner/ac_f32", ac_loss(*logits), golden["ac_f32"]),
        relative("winner/ac_focal_f32", ac_loss(*logits, focus=2.0), golden["ac_focal_f32"]),
    ]


def _irra_losses(golden: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    image, text = _features(golden, dtype)
    scale, pids = float(golden["logit_scale"]), golden["pids"]
    soft = same_identity(pids, golden["image_ids"]).to(dtype)
    hard = same_identity(pids).to(dtype)
    return {
        "sdm": matching_loss(image, text, distributions(hard, "released"), scale),
        "sdm_image_id": matching_loss(image, text, distributions(soft, "released"), scale),
        "itc": infonce_loss(image, text, scale),
        "cmpm": cmpm_loss(golden["image_features"].to(dtype), golden["text_features"].to(dtype), pids),
        "id": id_loss(golden["id_image_logits"].to(dtype), golden["id_text_logits"].to(dtype), golden["id_labels"]),
        "mlm": masked_token_loss(golden["mlm_scores"].to(dtype), golden["mlm_labels"]),
    }


def _sdm_gradients(golden: Arrays) -> list[Check]:
    features = [golden[name].double().requires_grad_() for name in ("image_features", "text_features")]
    image, text = (F.normalize(feature, dim=1) for feature in features)
    targets = distributions(same_identity(golden["pids"]).double(), "recommended")
    matching_loss(image, text, targets, float(golden["logit_scale"])).backward()
    names = ("sdm_grad_image_f64", "sdm_grad_text_f64")
    return [
        relative(f"irra/{name}", f.grad, golden[name], LABELS_FLOAT32)
        for name, f in zip(names, features, strict=True)
        if f.grad is not None
    ]


def _features(golden: Arrays, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return F.normalize(golden["image_features"].to(dtype), dim=1), F.normalize(golden["text_features"].to(dtype), dim=1)
