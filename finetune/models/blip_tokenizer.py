"""BLIP's texts: cleaned, BERT WordPiece with [CLS] and [SEP], and two more ids behind the vocabulary, [DEC] and [ENC]."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from pipeline.fileio import write_bytes
from pretrain.tokenizer import CLS, PAD, SEP, UNK, VOCAB_FILE, read_vocab

_MARKS = re.compile(r"[.!\"()*#:;~]")


class BlipTokenizer:
    """ids end with [DEC], [ENC]; [ENC] stands in the place of [CLS] where a text is compared with a picture."""

    def __init__(self, vocab_file: Path, field: str | None = None) -> None:
        """Raises ConfigError, naming the field that the file was given in, if it is absent or not a BERT vocabulary."""
        self.vocab_file = vocab_file
        pieces = read_vocab(vocab_file, field)
        self.pieces = [piece for piece in pieces if piece not in ("[DEC]", "[ENC]")]
        ids = {piece: number for number, piece in enumerate(self.pieces)}
        self.encode_id = len(self.pieces) + 1  # behind [DEC]
        self.pad_id = ids[PAD]
        self._tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNK, max_input_chars_per_word=100))
        self._tokenizer.normalizer = normalizers.BertNormalizer()
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        ends = [(CLS, ids[CLS]), (SEP, ids[SEP])]
        self._tokenizer.post_processor = processors.TemplateProcessing(single=f"{CLS} $A {SEP}", special_tokens=ends)

    def __len__(self) -> int:
        return len(self.pieces) + 2

    def __call__(self, texts: Sequence[str], max_tokens: int = 35, max_words: int = 30) -> tuple[Tensor, Tensor]:
        """texts -> ids, mask (B, L) int64, L the longest of them and at most max_tokens."""
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.enable_padding(pad_id=self.pad_id, pad_token=PAD)
        encodings = self._tokenizer.encode_batch([clean(text, max_words) for text in texts])
        return torch.tensor([e.ids for e in encodings]), torch.tensor([e.attention_mask for e in encodings])

    def save(self, folder: Path) -> None:
        write_bytes(folder / VOCAB_FILE, ("\n".join(self.pieces) + "\n").encode())


def clean(text: str, max_words: int) -> str:
    """Lower-case, some marks to spaces, the first words. Source: BLIP, pre_caption."""
    return " ".join(_MARKS.sub(" ", text.lower()).split()[:max_words])
