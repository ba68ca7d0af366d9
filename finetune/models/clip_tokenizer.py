"""CLIP's byte-pair tokenizer on the `tokenizers` library, with IRRA's [MASK].

IRRA drops the last merge, so that mask, start and end are the last three ids and the vocabulary keeps its size. Texts are padded with 0,
which is also the id of "!". `vocab/clip_merges.txt` are OpenAI's published merges (MIT licence).
"""

import html
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor

from pipeline.contracts.errors import ConfigError
from pipeline.fileio import write_bytes
from pretrain.checkpoint import needed

Merges = list[tuple[str, str]]

MERGES_FILE = "merges.txt"
EMBEDDED_MERGES = Path(__file__).parents[1] / "vocab" / "clip_merges.txt"
CONTEXT = 77
MASK_PROBABILITY = 0.15
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_SPECIAL = ("<|mask|>", "<|startoftext|>", "<|endoftext|>")


class ClipTokenizer:
    """Lower-cases, splits, merges bytes. `num_merges` may be cut for small models; ids then stay contiguous, specials last."""

    def __init__(self, merges: Sequence[tuple[str, str]], with_mask: bool = True) -> None:
        self.merges = list(merges)
        pieces = _byte_pieces()
        pieces += [f"{piece}</w>" for piece in pieces] + ["".join(pair) for pair in self.merges]
        specials = _SPECIAL if with_mask else _SPECIAL[1:]
        vocabulary = {piece: number for number, piece in enumerate([*pieces, *specials])}
        self.size = len(pieces) + len(specials)
        self.start_id, self.end_id = self.size - 2, self.size - 1
        self.mask_id = self.size - 3 if with_mask else None
        self._tokenizer = Tokenizer(models.BPE(vocabulary, self.merges, end_of_word_suffix="</w>", fuse_unk=False))
        self._tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        split = pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True)
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    def __len__(self) -> int:
        return self.size

    def __call__(self, texts: Sequence[str], context: int = CONTEXT) -> Tensor:
        """texts -> (B, context) int64: start, pieces, end, zeros; a longer text is cut and keeps its end."""
        rows = torch.zeros(len(texts), context, dtype=torch.int64)
        for row, encoding in enumerate(self._tokenizer.encode_batch([_unescaped(text) for text in texts], add_special_tokens=False)):
            ids = [self.start_id, *encoding.ids[: context - 2], self.end_id]
            rows[row, : len(ids)] = torch.tensor(ids)
        return rows

    def masked(
        self, ids: Sequence[int], rng: Random, probability: Sequence[float] | float = MASK_PROBABILITY
    ) -> tuple[list[int], list[int]]:
        """IRRA's masking of one text -> ids, targets (0 where nothing was selected).

        An ordinary token is selected with `probability`, a number or one per position; of those 80 % become the mask, 10 % a random
        ordinary id, 10 % stay. If none was, the first one is masked. The order of random calls is the published one.
        """
        assert self.mask_id is not None, "a tokenizer without a mask cannot mask"
        new, targets = list(ids), [0] * len(ids)
        for place, token in enumerate(ids):
            if not 0 < token < self.mask_id:
                continue
            chance, limit = rng.random(), probability if isinstance(probability, float) else probability[place]
            if chance >= limit:
                continue
            targets[place] = token
            if chance / limit < 0.8:
                new[place] = self.mask_id
            elif chance / limit < 0.9:
                new[place] = rng.choice(range(1, self.mask_id))
        if not any(targets):
            targets[1], new[1] = new[1], self.mask_id
        return new, targets

    def save(self, folder: Path) -> None:
        """`merges.txt` as transformers reads it."""
        lines = ["#version: 0.2", *(" ".join(pair) for pair in self.merges)]
        write_bytes(folder / MERGES_FILE, ("\n".join(lines) + "\n").encode())


def load_tokenizer(folder: Path | None, vocab_size: int, with_mask: bool = True) -> ClipTokenizer:
    """From `merges.txt` beside CLIP weights, or the published merges, which are also meant where that file has only the first of them.

    folder: of the weights, None for random ones. Raises ConfigError if the merges do not give `vocab_size` ids.
    """
    path = folder / MERGES_FILE if folder and (folder / MERGES_FILE).is_file() else EMBEDDED_MERGES
    merges, published = _read_merges(path), _published_merges()
    if merges == published[: len(merges)]:
        merges = published
    try:
        return _cut(merges, vocab_size, with_mask, path)
    except ConfigError as err:
        way_out = f"put the whole {MERGES_FILE} of these weights into {folder}" if folder else "give model.clip another vocab_size"
        raise ConfigError(f"{err}; {way_out}") from err


def saved_tokenizer(folder: Path, vocab_size: int, with_mask: bool) -> ClipTokenizer:
    """From `merges.txt` of a checkpoint folder of ours. Raises ContractError if that is absent or damaged."""
    with needed(folder / MERGES_FILE) as path:
        return _cut(_read_merges(path), vocab_size, with_mask, path)


def _cut(merges: Merges, vocab_size: int, with_mask: bool, path: Path) -> ClipTokenizer:
    """The first merges, as many as give `vocab_size` ids. Raises ConfigError if there are too few of them, or none is wanted."""
    wanted = vocab_size - 512 - (3 if with_mask else 2)
    if not 0 <= wanted <= len(merges):
        raise ConfigError(f"a vocabulary of {vocab_size} needs {wanted} merges, {path} has {len(merges)}")
    return ClipTokenizer(merges[:wanted], with_mask)


@cache
def _published_merges() -> Merges:
    return _read_merges(EMBEDDED_MERGES)


def _read_merges(path: Path) -> Merges:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path} cannot be read: {err}") from err
    pairs = [line.split() for line in lines if line and not line.startswith("#version")]
    if bad := [pair for pair in pairs if len(pair) != 2]:
        raise ConfigError(f"{path}: {' '.join(bad[0])!r} is no merge; accepted: two pieces a line")
    return [(one, other) for one, other in pairs]


def _byte_pieces() -> list[str]:
    """A printable character per byte, in CLIP's order: those that print stand for themselves."""
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printing]
    return [chr(byte) for byte in printing] + [chr(256 + number) for number in range(len(others))]


def _unescaped(text: str) -> str:
    return html.unescape(html.unescape(text)).strip()
