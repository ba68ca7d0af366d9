"""Operations by formula: as torch counts them, and the published figure at full size."""

from random import Random

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.paper_path import OneByOne, paper_terms, paper_texts
from pipeline.contracts.attributes import PERSON_27
from pretrain.chance import Chance
from pretrain.flops import StepSize, device_peak, model_flops_utilisation, published_flops, step_flops
from pretrain.masking import Masker
from pretrain.models.aptm import APTM
from pretrain.models.settings import AptmConfig, TextConfig, VisionConfig
from pretrain.objective import Texts, pretrain_terms
from pretrain.settings import MaskingConfig, ObjectiveConfig
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer

CAPTIONS = ["a man in a black shirt", "a woman wears a red dress and a hat", "a zebra", "a boy with a backpack in blue trousers"]
BERT_VOCAB = 30522


def _config(vocab_size: int, layers: int) -> AptmConfig:
    vision = VisionConfig(height=64, width=32, embed_dim=24, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 2), window_size=4)
    text = TextConfig(
        vocab_size=vocab_size, hidden_size=64, intermediate_size=96, num_heads=2, num_layers=layers, fusion_layer=2, max_positions=64
    )
    return AptmConfig(vision=vision, text=text, embed_dim=16)


@pytest.mark.parametrize("layers", [3, 5])
def test_the_formulas_are_what_torch_counts(layers: int) -> None:
    """To one per cent, forward; torch is told to take the products of attention apart, since it does not count the fused ones of a CPU."""
    tokenizer, objective = CaptionTokenizer(EMBEDDED_VOCAB), ObjectiveConfig()
    config, masker = _config(len(tokenizer), layers), Masker(tokenizer, MaskingConfig())
    model = APTM(config).eval()
    labels, persons, image = torch.ones(4, 27, dtype=torch.int64), torch.arange(4), torch.zeros(4, 3, 64, 32)
    labels[::2] = 0  # each prompt is true of a picture: the research code completes those only
    texts, prompts = (paper_texts(tokenizer, masker, t, length, Random(0)) for t, length in ((CAPTIONS, 20), (PERSON_27.prompts, None)))
    size = StepSize(
        batch=4, caption_tokens=20, prompts=54, prompt_tokens=prompts.ids.shape[1], matching_prompts=5, caption_masks=10, prompt_masks=10
    )
    counted = []
    for terms, draws in ((paper_terms, OneByOne()), (pretrain_terms, Chance(0, 0, torch.device("cpu")).start(0))):
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            terms(model, image, texts, persons, labels, prompts, draws, objective)
        counted.append(3 * counter.get_total_flops())
    assert published_flops(config, size) == pytest.approx(counted[0], rel=0.01)
    assert step_flops(config, size) == pytest.approx(counted[1], rel=0.01)


def test_a_published_step_is_237_gflop_an_image_and_ours_is_less() -> None:
    """Batch 150, captions padded to 56. The prompts' length is that of our tokens, close to BERT's."""
    prompt_tokens = Texts(*CaptionTokenizer(EMBEDDED_VOCAB)(PERSON_27.prompts, None)).ids.shape[1]
    config = AptmConfig().with_vocab(BERT_VOCAB)
    size = StepSize(
        batch=150, caption_tokens=56, prompts=54, prompt_tokens=prompt_tokens, matching_prompts=5, caption_masks=10, prompt_masks=10
    )
    assert published_flops(config, size) / 150 == pytest.approx(237e9, rel=0.03)
    assert 0.8 < step_flops(config, size) / published_flops(config, size) < 0.9


def test_mfu_is_operations_a_second_over_the_peak_and_unknown_without_one() -> None:
    config = AptmConfig().with_vocab(BERT_VOCAB)
    size = StepSize(batch=75, caption_tokens=40, prompts=54, prompt_tokens=12, matching_prompts=5, caption_masks=10, prompt_masks=10)
    utilisation = model_flops_utilisation(config, size, parts=2, seconds=0.1, peak=989e12)
    assert utilisation is not None
    assert utilisation == pytest.approx(20 * step_flops(config, size) / 989e12)
    assert model_flops_utilisation(config, size, parts=2, seconds=0.1, peak=None) is None


def test_peaks_are_those_of_the_device_and_precision() -> None:
    assert device_peak("NVIDIA H100 80GB HBM3", "bfloat16") == 989e12
    assert device_peak("NVIDIA H100 PCIe", "bfloat16") == 756e12
    assert device_peak("NVIDIA A100-SXM4-80GB", "float32") == 19.5e12
    assert device_peak("a card of tomorrow", "bfloat16") is None
