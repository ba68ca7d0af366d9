"""One step of BLIP retrieval with stub encoders: momentum update, queue, contrastive and matching loss."""

import torch
import torch.nn.functional as F
from torch import nn

from finetune.models.blip import FeatureQueue, Features, fitc_term, fitm_weights, momentum_update
from finetune.parity.fixture import Arrays, ChallengeFixture, relative
from pretrain.losses.itm import itm_loss, matching_pairs
from pretrain.losses.reduce import as_counted_here
from pretrain.parity.fixture import Check, equal


def blip_checks(fixture: ChallengeFixture) -> list[Check]:
    golden = fixture.arrays("blip_itc_itm.npz")
    classes, temperature = golden["idx"].view(-1), golden["temp"].float().view(1)
    features = _features(golden)
    queue = _queue(golden)
    fitc = fitc_term(features, queue, classes, temperature, float(golden["alpha"]))
    queue.enqueue(features.image_momentum, features.text_momentum, classes)
    weights = fitm_weights(features, classes, temperature)
    pairs = matching_pairs(weights, golden["weights_t2i"].argmax(1), golden["weights_i2t"].argmax(1))
    fitm = itm_loss(_stub_logits(golden, pairs.image_index), pairs.targets, as_counted_here)
    return [
        relative("blip/fitc", fitc, golden["loss_ita"]),
        relative("blip/weights_t2i", weights.image_for_text, golden["weights_t2i"]),
        relative("blip/weights_i2t", weights.text_for_image, golden["weights_i2t"]),
        relative("blip/fitm of the likeliest negatives", fitm, golden["loss_itm_argmax_negatives"]),
        relative("blip/image queue after", queue.image, golden["image_queue_after"]),
        relative("blip/text queue after", queue.text, golden["text_queue_after"]),
        equal("blip/class queue after", queue.classes.flatten().tolist(), golden["idx_queue_after"].flatten().tolist()),
        equal("blip/position after", queue.position.tolist(), golden["ptr_after"].view(-1).tolist()),
    ]


def _features(golden: Arrays) -> Features:
    online, averaged = {}, {}
    for side, states in (("vision", "visual_states"), ("text", "text_states")):
        layer, mean = _linear(golden, f"{side}_proj"), _linear(golden, f"{side}_proj_m")
        momentum_update(layer, mean, float(golden["momentum"]))
        online[side] = F.normalize(layer(golden[states][:, 0]), dim=-1)
        averaged[side] = F.normalize(mean(golden[f"{states}_momentum"][:, 0]), dim=-1)
    return Features(online["vision"], online["text"], averaged["vision"].detach(), averaged["text"].detach())


def _queue(golden: Arrays) -> FeatureQueue:
    dim, size = golden["image_queue"].shape
    queue = FeatureQueue(size, dim)
    for name, buffer in (
        ("image_queue", queue.image),
        ("text_queue", queue.text),
        ("idx_queue", queue.classes),
        ("ptr_before", queue.position),
    ):
        buffer.copy_(golden[name].view_as(buffer))
    return queue


def _stub_logits(golden: Arrays, images: torch.Tensor) -> torch.Tensor:
    """The stub cross encoder: tanh(table[id] + mean of image states), of which only the first token is used."""
    first = golden["token_table"][int(golden["enc_token_id"])]
    states = torch.tanh(first + golden["visual_states"].mean(1)[images])
    return _linear(golden, "itm_head")(states)


def _linear(golden: Arrays, name: str) -> nn.Linear:
    weight, bias = golden[f"{name}_weight"], golden[f"{name}_bias"]
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer
