"""All losses with the recorded random choices, and the gradient of the pre-training total."""

import re

from torch import Tensor

from pretrain.draws import Draws, RecordedDraws
from pretrain.models.aptm import APTM
from pretrain.objective import (
    Texts,
    attribute_terms,
    encode_images,
    encode_texts,
    encode_with_masked,
    itc_term,
    itm_term,
    matching_terms,
    pretrain_terms,
    pretrain_weights,
    weighted_total,
)
from pretrain.parity.fixture import Check, Fixture, close, close_numbers
from pretrain.settings import ObjectiveConfig

_REPLACED = re.compile(r"label_for_iac_nosmooth_attr(\d+)")  # labels of the attribute that no row states, where the loss needs some
SECOND_VIEW_WEIGHT = 0.8
FINETUNE_WEIGHTS = {"itc": 1.0, "itc_second": SECOND_VIEW_WEIGHT, "itm": 1.0, "itm_second": SECOND_VIEW_WEIGHT, "mlm": 1.0}
NEGLIGIBLE = 1e-6  # gradient norms that are mathematically 0, such as those of attention key biases


def loss_checks(fixture: Fixture) -> list[Check]:
    """Golden losses that are null (NaN in the research code, 0 with us) are left out."""
    golden = {name: value for name, value in fixture.json("losses.json")["losses"].items() if value is not None}
    ours = {**pretrain_losses(fixture), **_finetune_losses(fixture), **_pa100k_losses(fixture), **_unsmoothed_losses(fixture)}
    return close_numbers("losses/", {name: float(value.detach()) for name, value in ours.items()}, golden)


def gradient_checks(fixture: Fixture) -> list[Check]:
    """Full gradients where they are stored, norms (relative to the larger of 1 and the norm) for all parameters."""
    model = fixture.model
    model.zero_grad()
    pretrain_losses(fixture)["total_pretrain"].backward()
    gradients = {name: p.grad.detach() for name, p in model.named_parameters() if p.grad is not None}
    golden = fixture.tensors("grads.safetensors")
    checks = [close(f"grads/{name}", gradients[name].reshape(tensor.shape), tensor) for name, tensor in golden.items()]
    norms = {name: norm for name, norm in fixture.json("losses.json")["grad_norms"].items() if norm >= NEGLIGIBLE}
    errors = {name: abs(float(gradients[name].norm()) - norm) / max(1.0, norm) for name, norm in norms.items()}
    worst = max(errors, key=lambda name: errors[name])
    return [*checks, Check(f"grads/norms of {len(norms)} parameters, worst {worst}", errors[worst])]


def pretrain_losses(fixture: Fixture) -> dict[str, Tensor]:
    config = ObjectiveConfig(label_smoothing=fixture.settings["LabelSmooth"], attribute_weight=fixture.settings["t"])
    inputs, texts, prompts = fixture.inputs, fixture.texts("text"), fixture.texts("attr")
    terms = pretrain_terms(fixture.model, inputs["image"], texts, inputs["idx"], inputs["label"], prompts, _draws(fixture, ""), config)
    image, text = encode_images(fixture.model, inputs["image"]), encode_texts(fixture.model, texts)
    return {
        **terms,
        "itc_no_idx": itc_term(fixture.model, image, text, None),
        "attr": (terms["iac"] + terms["iam"] + terms["mam"]) / 3,
        "total_pretrain": weighted_total(terms, pretrain_weights(config)),
    }


def finetune_terms(model: APTM, image: Tensor, texts: Texts, second: Texts, identities: Tensor, draws: Draws) -> dict[str, Tensor]:
    """Two views of each caption: ITC and ITM on both, MLM on the first. Source: research code, fine-tuning on CUHK-PEDES and others."""
    pictures = encode_images(model, image)
    text, other = encode_with_masked(model, texts), encode_texts(model, second)
    matching = matching_terms(model, pictures, texts, text, identities, draws)
    return {
        "itc": itc_term(model, pictures, text, identities),
        "itc_second": itc_term(model, pictures, other, identities),
        "itm": matching["itm"],
        "mlm": matching["mlm"],
        "itm_second": itm_term(model, pictures, second, other, identities, draws),
    }


def _finetune_losses(fixture: Fixture) -> dict[str, Tensor]:
    draws = RecordedDraws(negatives=[_negatives(fixture, "ft_"), _negatives(fixture, "ft_eda_")])
    inputs = fixture.inputs
    terms = finetune_terms(fixture.model, inputs["image"], fixture.texts("text"), fixture.second_view(), inputs["idx"], draws)
    return {
        "ft_itc": terms["itc"] + SECOND_VIEW_WEIGHT * terms["itc_second"],
        "ft_itm": terms["itm"] + SECOND_VIEW_WEIGHT * terms["itm_second"],
        "ft_mlm": terms["mlm"],
        "ft_total": weighted_total(terms, FINETUNE_WEIGHTS),
        "ft_itc_eda_only": terms["itc_second"],
        "ft_itm_eda_only": terms["itm_second"],
    }


def _pa100k_losses(fixture: Fixture) -> dict[str, Tensor]:
    image = encode_images(fixture.model, fixture.inputs["image"])
    config, draws = ObjectiveConfig(label_smoothing=0.0), _draws(fixture, "pa_")
    terms = attribute_terms(fixture.model, image, fixture.inputs["label_pa"], fixture.texts("pa"), draws, config)
    return {
        **{f"pa_{name}": value for name, value in terms.items()},
        "pa_total": weighted_total(terms, dict.fromkeys(("iac", "iam", "mam"), 1.0)),
    }


def _unsmoothed_losses(fixture: Fixture) -> dict[str, Tensor]:
    labels = fixture.inputs["label"].clone()
    for name, column in fixture.json("losses.json").items():
        if match := _REPLACED.fullmatch(name):
            labels[:, int(match[1])] = labels.new_tensor(column)
    image = encode_images(fixture.model, fixture.inputs["image"])
    config, draws = ObjectiveConfig(label_smoothing=0.0), _draws(fixture, "")
    terms = attribute_terms(fixture.model, image, labels, fixture.texts("attr"), draws, config)
    return {"iac_nosmooth": terms["iac"], "iam_nosmooth": terms["iam"]}


def _draws(fixture: Fixture, prefix: str) -> RecordedDraws:
    choices = fixture.choices
    positives = (choices[f"{prefix}mam_prompts"], choices[f"{prefix}mam_image_for_prompt"])
    negatives = [_negatives(fixture, prefix)] if f"{prefix}itm_neg_image_for_text" in choices else []
    return RecordedDraws(negatives, [choices[f"{prefix}iam_prompts"]], [positives])


def _negatives(fixture: Fixture, prefix: str) -> tuple[Tensor, Tensor]:
    return fixture.choices[f"{prefix}itm_neg_image_for_text"], fixture.choices[f"{prefix}itm_neg_text_for_image"]
