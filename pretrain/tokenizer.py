"""Captions to ids: BERT's WordPiece, but a text is `[CLS] pieces` without a final [SEP], as APTM was trained.

The vocabulary file is BERT's `vocab.txt`: one piece a line, its id is the line number, continuations start with `##`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from pipeline.contracts.errors import ConfigError
from pipeline.fileio import write_bytes

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNK, CLS, SEP, MASK)
VOCAB_FILE = "vocab.txt"
EMBEDDED_VOCAB = Path(__file__).parent / "vocab" / "embedded.txt"


class CaptionTokenizer:
    """Lower-cases, strips accents, splits punctuation, then WordPiece."""

    def __init__(self, vocab_file: Path, field: str | None = "text.vocab") -> None:
        """Raises ConfigError, naming the field that the file was given in, if it is absent or not a BERT vocabulary."""
        self.vocab_file = vocab_file
        self.pieces = read_vocab(vocab_file, field)
        ids = {piece: index for index, piece in enumerate(self.pieces)}
        self.pad_id, self.cls_id, self.mask_id = ids[PAD], ids[CLS], ids[MASK]
        self.special_ids = frozenset(ids[piece] for piece in SPECIAL)
        self.continuation_ids = frozenset(index for piece, index in ids.items() if piece.startswith("##"))
        self._tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNK, max_input_chars_per_word=100))
        self._tokenizer.normalizer = normalizers.BertNormalizer()
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._tokenizer.post_processor = processors.TemplateProcessing(single=f"{CLS} $A", special_tokens=[(CLS, self.cls_id)])

    def __len__(self) -> int:
        return len(self.pieces)

    def __call__(self, texts: Sequence[str], max_tokens: int | None, pad: Literal["max", "longest"] = "longest") -> tuple[Tensor, Tensor]:
        """texts -> ids, mask (B, L) int64, padded on the right.

        max_tokens counts [CLS]; None never cuts. pad="max" gives L = max_tokens, "longest" the length of the longest text.
        """
        if max_tokens is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(max_tokens)
        length = max_tokens if pad == "max" else None
        self._tokenizer.enable_padding(pad_id=self.pad_id, pad_token=PAD, length=length)
        encodings = self._tokenizer.encode_batch(list(texts))
        ids = torch.tensor([e.ids for e in encodings], dtype=torch.int64)
        mask = torch.tensor([e.attention_mask for e in encodings], dtype=torch.int64)
        return ids, mask

    def save(self, folder: Path) -> None:
        """Write `vocab.txt` into a checkpoint folder."""
        write_bytes(folder / VOCAB_FILE, ("\n".join(self.pieces) + "\n").encode())


def resolve_vocab(name: str) -> Path:
    """ "embedded", a vocabulary file, or a folder that holds `vocab.txt` (such as a bert-base-uncased folder)."""
    if name == "embedded":
        return EMBEDDED_VOCAB
    path = Path(name)
    return path / VOCAB_FILE if path.is_dir() else path


def read_vocab(path: Path, field: str | None) -> list[str]:
    """The pieces in order of their ids. Raises ConfigError naming the file, the field that it was given in, if any, and what it lacks."""
    named = f"{field}={path}" if field else str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(
            f"{named}: not a readable vocabulary file ({err}); accepted: a vocab.txt"
            + (", a folder that holds one, or 'embedded'" if field else "")
        ) from err
    pieces = text.removesuffix("\n").split("\n")
    if absent := [piece for piece in SPECIAL if piece not in pieces]:
        raise ConfigError(f"{named}: {', '.join(absent)} missing; accepted: a BERT vocabulary with one piece per line")
    if pieces[0] != PAD:
        raise ConfigError(f"{named}: the first piece is {pieces[0]!r}; accepted: {PAD}, because its id must be 0")
    if len(set(pieces)) != len(pieces):
        raise ConfigError(f"{named}: a piece stands there twice, so ids are ambiguous")
    return pieces
