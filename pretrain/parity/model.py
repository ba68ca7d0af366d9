"""Parameters by name, and every intermediate and final tensor of the model."""

import torch
from torch import Tensor

from pretrain.losses.itm import negative_weights
from pretrain.models.aptm import APTM
from pretrain.models.layout import published_state
from pretrain.models.settings import AptmConfig, TextConfig
from pretrain.objective import encode_images, encode_texts
from pretrain.optim import Boosted, boosted_names, group_of
from pretrain.parity.fixture import Check, Fixture, close, equal

BERT_VOCABULARY = 30522
GROUP_SETS: dict[str, Boosted] = {"pretrain": "cross_attention", "finetune": "upper_layers", "pa100k": "upper_layers"}


def checkpoint_checks(fixture: Fixture) -> list[Check]:
    """Loading uses every key, and saving gives back the same keys and bytes."""
    model, report = fixture.loaded
    saved, given = published_state(model), fixture.state
    changed = [name for name in given if name in saved and not torch.equal(saved[name], given[name])]
    return [
        equal("checkpoint/keys loaded", [*report.missing, *report.unexpected], []),
        equal("checkpoint/keys saved", sorted(saved), sorted(given)),
        equal("checkpoint/tensors saved", changed, []),
        *_new_parameters(fixture, model),
    ]


def _new_parameters(fixture: Fixture, model: APTM) -> list[Check]:
    """Which parameters a plain BERT does not bring: those that pre-training gives the larger learning rate."""
    golden = fixture.json("losses.json").get("init_params_from_missing_keys") if fixture.has("losses.json") else None
    if golden is None:
        return []
    is_boosted = boosted_names("cross_attention", fixture.model_config())
    return [equal("checkpoint/new parameters", sorted(n for n, _ in model.named_parameters() if is_boosted(n)), sorted(golden))]


def full_size_checks(fixture: Fixture) -> list[Check]:
    """Keys, shapes and optimizer groups of the published size, on the meta device: no memory is needed."""
    config = AptmConfig(text=TextConfig(vocab_size=BERT_VOCABULARY))
    with torch.device("meta"):
        model = APTM(config)
    checks = []
    if fixture.has("checkpoint_keys.json"):
        golden = fixture.json("checkpoint_keys.json")
        ours = {name: _described(name, tensor) for name, tensor in model.state_dict().items()}
        checks.append(equal("full size/keys in order", list(ours), list(golden)))
        checks.append(equal("full size/shapes and types", [ours.get(name) for name in golden], list(golden.values())))
    if fixture.has("param_groups.json"):
        for task, golden in fixture.json("param_groups.json")["groups"].items():
            is_boosted = boosted_names(GROUP_SETS[task], config)
            groups = {name: group_of(name, is_boosted) for name, _ in model.named_parameters()}
            checks.append(equal(f"full size/parameter groups {task}", sorted(groups.items()), sorted(golden.items())))
    return checks


@torch.no_grad()
def output_checks(fixture: Fixture) -> list[Check]:
    ours = {**_encoder_outputs(fixture), **_cross_outputs(fixture)}
    golden = fixture.tensors("outputs.safetensors")
    absent = torch.full((0,), float("nan"))
    return [close(f"outputs/{name}", ours.get(name, absent), tensor) for name, tensor in golden.items()]


def _encoder_outputs(fixture: Fixture) -> dict[str, Tensor]:
    model, inputs = fixture.model, fixture.inputs
    outputs = dict(zip(("image_embeds", "image_feat"), model.encode_image(inputs["image"]), strict=True))
    outputs |= zip(("text_embeds", "text_feat"), model.encode_text(inputs["text_ids"], inputs["text_atts"]), strict=True)
    outputs |= zip(("attr_embeds", "attr_feat"), model.encode_text(inputs["attr_ids"], inputs["attr_atts"]), strict=True)
    outputs["text_embeds_eda"] = model.encode_text(inputs["text_ids_eda"], inputs["text_atts_eda"])[0]
    patch, *stages = model.vision_encoder.stages(inputs["image"][:1])
    outputs["vision_patch"] = patch
    return outputs | {f"vision_stage{number}": tokens for number, tokens in enumerate(stages)}


def _cross_outputs(fixture: Fixture) -> dict[str, Tensor]:
    model, inputs, choices = fixture.model, fixture.inputs, fixture.choices
    texts, prompts = fixture.texts("text"), fixture.texts("attr")
    assert texts.masked is not None
    assert prompts.masked is not None
    image, text, prompt = encode_images(model, inputs["image"]), encode_texts(model, texts), encode_texts(model, prompts)
    weights = negative_weights(image.feat, text.feat, model.temp, inputs["idx"])
    rows, columns = inputs["pair_text_index"], inputs["pair_image_index"]
    pairs = model.cross(text.tokens[rows], texts.mask[rows], image.tokens[columns])
    drawn, batch = choices["iam_prompts"], len(inputs["image"])
    repeated = drawn.repeat_interleave(batch)
    iam = model.cross(prompt.tokens[repeated], prompts.mask[repeated], image.tokens.repeat(len(drawn), 1, 1))
    chosen = choices["mam_prompts"]
    masked, seen = prompts.masked[chosen], image.tokens[choices["mam_image_for_prompt"]]
    return {
        "attr_logits": image.feat @ prompt.feat.T / model.temp,
        "weights_i2t": weights.text_for_image,
        "weights_t2i": weights.image_for_text,
        "cross_pairs": pairs,
        "itm_logits": model.match_logits(pairs),
        "iam_logits": model.match_logits(iam).view(len(drawn), batch, 2),
        "mlm_logits": model.mlm_logits(texts.masked.ids, texts.mask, image.tokens, texts.masked.positions),
        "mam_logits": model.mlm_logits(masked.ids, prompts.mask[chosen], seen, masked.positions),
    }


def _described(name: str, tensor: Tensor) -> dict[str, object]:
    shape = [] if name == "temp" else list(tensor.shape)
    return {"shape": shape, "dtype": str(tensor.dtype).removeprefix("torch.")}
