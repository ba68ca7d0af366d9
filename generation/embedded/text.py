"""The CLIP-type text encoder of the embedded diffusion model, with its byte-pair vocabulary.

Trained before the UNet, on text alone: from the state behind the last token it must tell the 27 attributes and the view. The UNet then
reads states in which a colour is already bound to its garment, which saves most of the diffusion training.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from generation.embedded.corpus import Corpus
from generation.embedded.loop import LoopConfig, train

WIDTH, LAYERS, HEADS, MAX_TOKENS, VOCAB_SIZE, BATCH = 160, 3, 4, 48, 1024, 256
START, END = "<|startoftext|>", "<|endoftext|>"
VIEW_NAMES = ("front", "side", "back")


def build_tokenizer(captions: list[str], folder: Path) -> CLIPTokenizer:
    """Byte-pair vocabulary in the files of CLIP (vocab.json, merges.txt), learned from captions; unknown words fall back to bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    split = pre_tokenizers.Split(_word_pattern(), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        min_frequency=2,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        special_tokens=[START, END],
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = dict(model["vocab"])
    for letter in alphabet:  # both forms of every byte, so that no text is unknown
        vocab.setdefault(letter + "</w>", len(vocab))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    merges = [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    result = CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_TOKENS, pad_token=END)
    result.save_pretrained(folder)
    return result


def _word_pattern() -> Regex:
    return Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")


def build_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class _Probe(nn.Module):
    """The text encoder with one linear layer that reads attributes from the state of the last position."""

    def __init__(self, encoder: CLIPTextModel, num_outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(WIDTH, num_outputs)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(ids).last_hidden_state[:, -1])


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """(B, 48) ids, padded and cut as StableDiffusionPipeline does."""
    return tokenizer(texts, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt").input_ids


def train_text_encoder(corpus: Corpus, folder: Path, out: Path, steps: int, seed: int) -> tuple[CLIPTokenizer, CLIPTextModel]:
    captions = [c for group in corpus.captions(seed) for c in group]
    tokenizer = build_tokenizer(captions, out / "tokenizer")
    ids = tokenize(tokenizer, captions).view(len(corpus), -1, MAX_TOKENS)
    labels = torch.tensor([r["labels"] for r in corpus.records], dtype=torch.float32)
    views = torch.tensor([VIEW_NAMES.index(r["view"]) for r in corpus.records])
    torch.manual_seed(seed)
    probe = _Probe(build_encoder(tokenizer), labels.shape[1] + len(VIEW_NAMES))

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        rows = torch.from_numpy(rng.integers(len(corpus), size=BATCH))
        outputs = probe(ids[rows, torch.from_numpy(rng.integers(ids.shape[1], size=BATCH))]).float()
        attributes = F.binary_cross_entropy_with_logits(outputs[:, : labels.shape[1]], labels[rows])
        return attributes + 0.1 * F.cross_entropy(outputs[:, labels.shape[1] :], views[rows])

    train("text_encoder", folder, probe, LoopConfig(steps=steps, lr=2e-3, ema=0.99), loss_of)
    return tokenizer, probe.encoder.eval()
