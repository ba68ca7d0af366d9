"""`train-captioner`: a small BLIP captioner on renders, saved in the layout that BlipForConditionalGeneration and BlipProcessor load.

The vision tower is taught first, on labels: from its [CLS] state it must tell the 27 attributes and the view. From captions alone it had
learned colours after 70,000 pictures, but neither hats nor backpacks: one word in twenty is a weak signal.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

from generation.embedded.corpus import CAPTIONS_PER_IMAGE, Corpus
from generation.embedded.loop import LoopConfig, train
from generation.embedded.render.scene import VIEWS

SIDE, PATCH, WIDTH, VISION_LAYERS, TEXT_LAYERS, HEADS, MAX_TOKENS = 128, 16, 192, 5, 3, 4, 48
BATCH = 64
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
    """BLIP's vision tower with one linear layer that reads attributes and view from its pooled [CLS] state."""

    def __init__(self, vision: nn.Module, num_outputs: int) -> None:
        super().__init__()
        self.vision = vision
        self.head = nn.Linear(WIDTH, num_outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.vision(pixel_values=pixels).pooler_output)


def teach_vision(vision: nn.Module, corpus: Corpus, processor: BlipProcessor, folder: Path, steps: int, seed: int) -> None:
    """Binary cross-entropy on the 27 attributes, cross-entropy on the view; changes `vision` in place."""
    labels = torch.tensor([r["labels"] for r in corpus.records], dtype=torch.float32)
    views = torch.tensor([VIEWS.index(r["view"]) for r in corpus.records])
    probe = _Probe(vision, labels.shape[1] + len(VIEWS))

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, 31, step))
        rows = rng.integers(len(corpus), size=BATCH)
        outputs = probe(pixels_of([soften(image, rng) for image in corpus.images(rows)], processor)).float()
        attributes = F.binary_cross_entropy_with_logits(outputs[:, : labels.shape[1]], labels[rows])
        return attributes + 0.1 * F.cross_entropy(outputs[:, labels.shape[1] :], views[rows])

    train("captioner_vision", folder, probe, LoopConfig(steps=steps, lr=1e-3, ema=0.998, warmup=200, decay_share=0.5), loss_of)


def pixels_of(images: list[np.ndarray], processor: BlipProcessor) -> Tensor:
    """(B, 3, 128, 128) float32 as BlipImageProcessor makes them, within what its bicubic filter and cv2's area filter differ by."""
    settings = processor.image_processor
    small = np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images])
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (settings.image_mean, settings.image_std))
    return (torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255 - mean) / std


def train_captioner(work: Path, out: Path, *, chunks: int, vision_steps: int, steps: int, seed: int) -> None:
    """Teacher forcing on (render, caption) pairs; a caption is [DEC] words [SEP].

    Only the captions that state everything (the even ones) are used, so that silence about a hat means that there is none.
    """
    torch.set_flush_denormal(True)
    corpus = Corpus.open(work / "renders", chunks, seed)
    captions = corpus.captions(seed)
    processor = build_processor([c for group in captions for c in group], work / "captioner")
    start, tokenizer = SPECIAL.index("[DEC]"), processor.tokenizer
    torch.manual_seed(seed)
    model = build(len(tokenizer))
    teach_vision(model.vision_model, corpus, processor, work, vision_steps, seed)
    model.train()

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        rows = rng.integers(len(corpus), size=BATCH)
        pixels = pixels_of([soften(image, rng) for image in corpus.images(rows)], processor)
        texts = [captions[i][2 * c] for i, c in zip(rows, rng.integers(CAPTIONS_PER_IMAGE // 2, size=BATCH), strict=True)]
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        ids = tokens.input_ids
        ids[:, 0] = start
        labels = ids.masked_fill(tokens.attention_mask == 0, -100)
        states = model.vision_model(pixel_values=pixels).last_hidden_state
        logits = model.text_decoder(input_ids=ids, attention_mask=tokens.attention_mask, encoder_hidden_states=states).logits.float()
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)

    train("captioner", work, model, LoopConfig(steps=steps, lr=8e-4, ema=0.998, warmup=100, decay_share=0.5), loss_of)
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
