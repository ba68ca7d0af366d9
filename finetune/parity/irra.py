"""The tiny IRRA, its tokens and masks, schedule, position table and parameter groups."""

import re
from random import Random

import torch
from torch import Tensor

from finetune.models.clip import image_feature, text_feature
from finetune.models.clip_settings import ClipConfig, TowerConfig
from finetune.models.clip_tokenizer import load_tokenizer
from finetune.models.clip_weights import count_layers, resize_positions
from finetune.models.irra import HEAD_WIDTH, Irra, IrraConfig, irra_epoch_factor, irra_lr_group
from finetune.parity.fixture import FLOAT64, Arrays, ChallengeFixture, relative
from pretrain.models.layout import load_published
from pretrain.parity.fixture import Check, close, equal

_TABLE = re.compile(r"pos_(in|out)_(\d+)x(\d+)")  # a position table of a grid of so many rows and columns
MODEL = 5e-6  # absolute, float32 over six blocks


@torch.no_grad()
def tiny_model_checks(fixture: ChallengeFixture) -> list[Check]:
    golden = fixture.arrays("tiny_irra.npz")
    weights = {name.removeprefix("w."): value for name, value in golden.items() if name.startswith("w.")}
    model = Irra(tiny_config(weights, golden)).eval()
    report = load_published(model, weights, str(golden.path))
    image, ids = model.base_model.image_tokens(golden["images"]), golden["caption_ids"]
    text = model.base_model.text_tokens(ids)
    fused = model.fuse(text, image)
    ours = {
        "image_tokens": image,
        "text_tokens": text,
        "image_feature": image_feature(image),
        "text_feature": text_feature(text, ids),
        "fused": fused,
        "mlm_logits": model.mlm_logits(fused),
    }
    keys = equal("tiny_irra/keys", [*report.missing, *report.unexpected], [])
    return [keys, *(close(f"tiny_irra/{name}", value, golden[name], MODEL) for name, value in ours.items())]


def tiny_config(weights: dict[str, Tensor], golden: Arrays) -> IrraConfig:
    """What the shapes of the weights say; heads are 64 wide, as in the research code."""
    conv, text = weights["base_model.visual.conv1.weight"], weights["base_model.token_embedding.weight"]
    _, _, height, width = golden["images"].shape

    def tower(size: int, prefix: str) -> TowerConfig:
        layers = count_layers(weights, prefix)
        return TowerConfig(width=size, layers=layers, heads=max(1, size // HEAD_WIDTH), hidden=4 * size)

    clip = ClipConfig(
        height=height,
        width=width,
        patch=conv.shape[-1],
        image=tower(conv.shape[0], "base_model.visual.transformer."),
        text=tower(text.shape[1], "base_model.transformer."),
        embed_dim=weights["base_model.text_projection"].shape[1],
        vocab_size=text.shape[0],
        context=weights["base_model.positional_embedding"].shape[0],
    )
    classes = weights["classifier.weight"].shape[0] if "classifier.weight" in weights else 0
    return IrraConfig(clip=clip, cross_layers=count_layers(weights, "cross_modal_transformer."), num_classes=classes)


def token_checks(fixture: ChallengeFixture) -> list[Check]:
    facts, golden = fixture.json("captions.json"), fixture.arrays("tokens.npz")
    tokenizer = load_tokenizer(None, facts["vocabulary"])
    ids = tokenizer(facts["captions"], golden["ids"].shape[1])
    rng = Random(facts["python_random_seed"])
    masked = [tokenizer.masked(row, rng) for row in golden["ids"].tolist()]
    specials = [tokenizer.mask_id, tokenizer.start_id, tokenizer.end_id]
    return [
        equal("tokens/special ids", specials, [facts[name] for name in ("mask", "start", "end")]),
        equal("tokens/ids", ids.tolist(), golden["ids"].tolist()),
        equal("tokens/masked", [new for new, _ in masked], golden["masked"].tolist()),
        equal("tokens/labels", [targets for _, targets in masked], golden["labels"].tolist()),
    ]


def schedule_checks(fixture: ChallengeFixture) -> list[Check]:
    golden = fixture.arrays("schedule_pos.npz")
    checks = []
    for name, rates in golden.items():
        if name.startswith("lr_") and name.endswith("_epochs"):
            epochs = int(name.split("_")[1])
            ours = [1e-5 * irra_epoch_factor(epoch, epochs) for epoch in range(1, len(rates) + 1)]
            checks.append(Check(f"schedule/{name}", float((torch.tensor(ours, dtype=torch.float64) - rates).abs().max() / 1e-5), FLOAT64))
    return checks + _position_checks(golden)


def _position_checks(golden: Arrays) -> list[Check]:
    """Every table `pos_in_AxB` resized to every grid `pos_out_CxD` of its width."""
    tables = {name: (match[1], (int(match[2]), int(match[3]))) for name in golden if (match := _TABLE.fullmatch(name))}
    sources, targets = ([(name, grid) for name, (side, grid) in tables.items() if side == wanted] for wanted in ("in", "out"))
    return [
        relative(f"schedule/{name} to {other}", resize_positions(golden[name], grid, source), golden[other])
        for name, source in sources
        for other, grid in targets
    ]


def group_checks(fixture: ChallengeFixture) -> list[Check]:
    """Our rule, on the golden names; and our model has no name that the list lacks, as far as both have it."""
    golden = fixture.json("param_groups.json")
    ours = [irra_lr_group(row["name"], 1e-5, 4e-5) for row in golden]
    error = max(abs(a - row["lr"]) + abs(b - row["weight_decay"]) for (a, b), row in zip(ours, golden, strict=True))
    with torch.device("meta"):
        known = {name for name, _ in Irra(IrraConfig(num_classes=2)).named_parameters()}
    unknown = [row["name"] for row in golden if row["name"] not in known]
    return [Check(f"groups/lr and decay of {len(golden)} parameters", error, 1e-12), equal("groups/names", unknown, [])]
