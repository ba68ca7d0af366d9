"""`train-captioner`: a small BLIP captioner on renders, saved in the layout that BlipForConditionalGeneration and BlipProcessor load.

The vision tower is taught first, on labels: from its [CLS] state it must tell the 27 attributes and the view. From captions alone it had
learned colours after 70,000 pictures, but neither hats nor backpacks: one word in twenty is a weak signal.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

from generation.embedded import corpus as corpus_size
from generation.embedded.corpus import CAPTIONS_PER_IMAGE, Corpus
from generation.embedded.loop import LoopConfig, train
from generation.embedded.render.scene import VIEWS
from pipeline.contracts.attributes import PERSON_27

SIDE, PATCH, WIDTH, VISION_LAYERS, TEXT_LAYERS, HEADS, MAX_TOKENS = 128, 16, 192, 5, 3, 4, 48
BATCH = 64
HAT = PERSON_27.names.index("hat")
# Colours are learned at once; the small things need the weight.
ATTRIBUTE_WEIGHTS = torch.tensor([1.0 if "_" in name and name.split("_")[0] in ("upper", "lower") else 3.0 for name in PERSON_27.names])
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]


def build_processor(captions: list[str], folder: Path) -> BlipProcessor:
    """WordPiece vocabulary of the captions; pictures are squashed to 128x128 and normalised as BLIP does."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        captions, trainers.WordPieceTrainer(vocab_size=600, min_frequency=2, special_tokens=SPECIAL, show_progress=False)
    )
    folder.mkdir(parents=True, exist_ok=True)
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("\n".join(word for word, _ in vocab) + "\n")
    words = BertTokenizer(
        str(folder / "vocab.txt"), do_lower_case=True, model_max_length=MAX_TOKENS, bos_token="[DEC]", additional_special_tokens=["[ENC]"]
    )
    return BlipProcessor(BlipImageProcessor(size={"height": SIDE, "width": SIDE}), words)


def build(vocab_size: int) -> BlipForConditionalGeneration:
    size = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": HEADS}
    vision = {**size, "num_hidden_layers": VISION_LAYERS, "image_size": SIDE, "patch_size": PATCH}
    words = {
        **size,
        "vocab_size": vocab_size,
        "num_hidden_layers": TEXT_LAYERS,
        "encoder_hidden_size": WIDTH,
        "projection_dim": WIDTH,
        "max_position_embeddings": MAX_TOKENS,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "label_smoothing": 0.0,
        "bos_token_id": SPECIAL.index("[DEC]"),
        "pad_token_id": SPECIAL.index("[PAD]"),
        "eos_token_id": SPECIAL.index("[SEP]"),
        "sep_token_id": SPECIAL.index("[SEP]"),
    }
    return BlipForConditionalGeneration(
        BlipConfig(vision_config=vision, text_config=words, projection_dim=WIDTH, image_text_hidden_size=WIDTH)
    )


class _Probe(nn.Module):
    """BLIP's vision tower with two linear layers: attributes and view from the pooled [CLS] state, the hat from the patches of the head.

    A hat covers one patch or two. From [CLS] alone it was not learned in 128,000 pictures, since [CLS] must first find the head; the second
    layer teaches the patches themselves.
    """

    def __init__(self, vision: nn.Module, num_outputs: int) -> None:
        super().__init__()
        self.vision = vision
        self.whole = nn.Linear(WIDTH, num_outputs)
        self.hat = nn.Linear(WIDTH, 1)

    def forward(self, pixels: Tensor, noses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """pixels (B, 3, 128, 128), noses (B, 2) in px of these -> states (B, 65, 192), outputs (B, num_outputs), hat logits (B,)."""
        output = self.vision(pixel_values=pixels)
        states = output.last_hidden_state
        logits = self.hat(states[:, 1:]).squeeze(-1).float()
        hat = logits.masked_fill(~near_head(noses), -1e4).amax(1)
        return states, self.whole(output.pooler_output).float(), hat


def near_head(noses: Tensor) -> Tensor:
    """(B, 64) bool: patches at most one and a half beside the nose and two above it. noses (B, 2): x, y in px of the 128x128 picture."""
    places = (torch.arange(SIDE // PATCH) + 0.5) * PATCH
    beside = (places[None] - noses[:, :1]).abs() < 1.5 * PATCH
    above = (noses[:, 1:] - places[None] < 2 * PATCH) & (places[None] - noses[:, 1:] < PATCH)
    return (above[:, :, None] & beside[:, None, :]).flatten(1)


@dataclass(frozen=True)
class _Answers:
    """What the renders are known to show: labels (N, 27) float, views (N,), noses (N, 2) px of the squashed picture."""

    labels: Tensor
    views: Tensor
    noses: Tensor

    @classmethod
    def of(cls, corpus: Corpus) -> "_Answers":
        labels = torch.tensor([r["labels"] for r in corpus.records], dtype=torch.float32)
        noses = torch.tensor([r["nose"] for r in corpus.records]) * torch.tensor([SIDE / corpus_size.WIDTH, SIDE / corpus_size.HEIGHT])
        return cls(labels, torch.tensor([VIEWS.index(r["view"]) for r in corpus.records]), noses)

    def loss(self, rows: Tensor, outputs: Tensor, hat: Tensor) -> Tensor:
        """Binary cross-entropy of the attributes, plus those of the view and of the hat at the head."""
        labels, count = self.labels[rows], self.labels.shape[1]
        attributes = F.binary_cross_entropy_with_logits(outputs[:, :count], labels, weight=ATTRIBUTE_WEIGHTS)
        wears_hat = 1 - labels[:, HAT]
        local = F.binary_cross_entropy_with_logits(hat, wears_hat)
        return attributes + 0.1 * F.cross_entropy(outputs[:, count:], self.views[rows]) + 0.5 * local


def teach_vision(probe: _Probe, corpus: Corpus, processor: BlipProcessor, folder: Path, steps: int, seed: int) -> None:
    """Labels alone, before any caption; changes the probe's vision tower in place."""
    known = _Answers.of(corpus)

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, 31, step))
        rows = rng.integers(len(corpus), size=BATCH)
        which = torch.from_numpy(rows)
        pixels = pixels_of([soften(image, rng) for image in corpus.images(rows)], processor)
        _, outputs, hat = probe(pixels, known.noses[which])
        return known.loss(which, outputs, hat)

    train("captioner_vision", folder, probe, LoopConfig(steps=steps, lr=1e-3, ema=0.99, warmup=100, decay_share=0.5), loss_of)


def pixels_of(images: list[np.ndarray], processor: BlipProcessor) -> Tensor:
    """(B, 3, 128, 128) float32 as BlipImageProcessor makes them, within what its bicubic filter and cv2's area filter differ by."""
    settings = processor.image_processor
    small = np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images])
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (settings.image_mean, settings.image_std))
    return (torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255 - mean) / std


def train_captioner(work: Path, out: Path, *, chunks: int, vision_steps: int, steps: int, seed: int, start: Path | None = None) -> None:
    """Teacher forcing on (render, caption) pairs, beside the loss of the labels; a caption is [DEC] words [SEP].

    start: a captioner folder to go on from, with its vocabulary.

    Only the captions that state everything (the even ones) are used, so that silence about a hat means that there is none.
    """
    torch.set_flush_denormal(True)
    corpus = Corpus.open(work / "renders", chunks, seed)
    captions = corpus.captions(seed)
    torch.manual_seed(seed)
    if start:
        processor = BlipProcessor.from_pretrained(start)
        model = BlipForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    else:
        processor = build_processor([c for group in captions for c in group], work / "captioner")
        model = build(len(processor.tokenizer))
    first_token, tokenizer, known = SPECIAL.index("[DEC]"), processor.tokenizer, _Answers.of(corpus)
    probe = _Probe(model.vision_model, len(PERSON_27.names) + len(VIEWS))
    teach_vision(probe.train(), corpus, processor, work, vision_steps, seed)
    both = nn.ModuleDict({"model": model, "probe": probe}).train()

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        rows = rng.integers(len(corpus), size=BATCH)
        pixels = pixels_of([soften(image, rng) for image in corpus.images(rows)], processor)
        texts = [captions[i][2 * c] for i, c in zip(rows, rng.integers(CAPTIONS_PER_IMAGE // 2, size=BATCH), strict=True)]
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        ids = tokens.input_ids
        ids[:, 0] = first_token
        labels = ids.masked_fill(tokens.attention_mask == 0, -100)
        which = torch.from_numpy(rows)
        states, outputs, hat = probe(pixels, known.noses[which])
        logits = model.text_decoder(input_ids=ids, attention_mask=tokens.attention_mask, encoder_hidden_states=states).logits.float()
        words = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return words + known.loss(which, outputs, hat)

    train("captioner", work, both, LoopConfig(steps=steps, lr=8e-4, ema=0.99, warmup=50, decay_share=0.6), loss_of)
    model.half().save_pretrained(out, safe_serialization=True)
    processor.save_pretrained(out)


def soften(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, brightness, contrast and a shift by a few pixels, so that generated and recropped pictures look familiar. uint8 in and out."""
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.8)))
    height, width = image.shape[:2]
    scale, x, y = rng.uniform((0.92, -6, -8), (1.08, 6, 8))
    affine = np.array([[scale, 0, x + (1 - scale) * width / 2], [0, scale, y + (1 - scale) * height / 2]])
    image = cv2.warpAffine(image, affine, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(image * rng.uniform(0.85, 1.15) + rng.uniform(-12, 12), 0, 255).astype(np.uint8)
