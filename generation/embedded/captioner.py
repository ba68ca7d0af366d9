"""`train-captioner`: a small BLIP captioner on renders, saved in the layout that BlipForConditionalGeneration and BlipProcessor load."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

from generation.embedded.corpus import CAPTIONS_PER_IMAGE, Corpus
from generation.embedded.loop import LoopConfig, train

SIDE, PATCH, WIDTH, VISION_LAYERS, TEXT_LAYERS, HEADS, MAX_TOKENS, BATCH = 128, 16, 192, 5, 3, 4, 48, 64
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


def train_captioner(work: Path, out: Path, *, chunks: int, steps: int, seed: int) -> None:
    """Teacher forcing on (render, caption) pairs; a caption is [DEC] words [SEP].

    Only the captions that state everything (the even ones) are used, so that silence about a hat means that there is none.
    """
    corpus = Corpus.open(work / "renders", chunks, seed)
    captions = corpus.captions(seed)
    processor = build_processor([c for group in captions for c in group], work / "captioner")
    start, tokenizer = SPECIAL.index("[DEC]"), processor.tokenizer
    torch.manual_seed(seed)
    model = build(len(tokenizer))

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        rows = rng.integers(len(corpus), size=BATCH)
        images = [soften(image, rng) for image in corpus.images(rows)]
        pixels = processor.image_processor(images, return_tensors="pt").pixel_values
        texts = [captions[i][2 * c] for i, c in zip(rows, rng.integers(CAPTIONS_PER_IMAGE // 2, size=BATCH), strict=True)]
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        ids = tokens.input_ids
        ids[:, 0] = start
        labels = ids.masked_fill(tokens.attention_mask == 0, -100)
        states = model.vision_model(pixel_values=pixels).last_hidden_state
        logits = model.text_decoder(input_ids=ids, attention_mask=tokens.attention_mask, encoder_hidden_states=states).logits.float()
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)

    train("captioner", work, model, LoopConfig(steps=steps, lr=8e-4, ema=0.998, warmup=200, decay_share=0.5), loss_of)
    model.half().save_pretrained(out, safe_serialization=True)
    processor.save_pretrained(out)


def soften(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, brightness, contrast and a shift by a few pixels, so that generated and recropped pictures look familiar. uint8 in and out."""
    import cv2

    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.8)))
    height, width = image.shape[:2]
    scale, x, y = rng.uniform((0.92, -6, -8), (1.08, 6, 8))
    affine = np.array([[scale, 0, x + (1 - scale) * width / 2], [0, scale, y + (1 - scale) * height / 2]])
    image = cv2.warpAffine(image, affine, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(image * rng.uniform(0.85, 1.15) + rng.uniform(-12, 12), 0, 255).astype(np.uint8)
