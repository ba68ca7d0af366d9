"""The masking generator of X-VLM and APTM in its order of random calls: a seeded `random.Random` repeats the published masks."""

from collections.abc import Sequence
from random import Random

from pretrain.masking import Masker


def mask_one(masker: Masker, tokens: Sequence[int], rng: Random) -> tuple[list[int], list[int]]:
    """One text, [CLS] first -> (ids after masking, positions). Every position after [CLS] that is given may be hidden.

    With mlm_candidates="tokens", special tokens never are; a text of nothing else comes back unchanged, without positions.
    """
    wanted = min(masker.config.max_masks, max(1, round(masker.config.probability * len(tokens))))
    candidates = list(range(1, len(tokens)))
    rng.shuffle(candidates)
    chosen: set[int] = set()
    for position in candidates:
        if len(chosen) >= wanted:
            break
        if position not in chosen:
            chosen.update(_span(masker, tokens, position, rng))
    places = list(chosen)
    if masker.config.mlm_candidates == "tokens":
        places = [p for p in places if tokens[p] not in masker.special]
    if len(places) > wanted:
        rng.shuffle(places)
        places = places[:wanted]
    return _hide(masker, tokens, places, rng), places


def _span(masker: Masker, tokens: Sequence[int], position: int, rng: Random) -> range:
    """The pieces that are hidden together with `position`: a span of pieces now and then, always whole words."""
    length = 1
    if masker.config.skipgram_size >= 2 and rng.random() < masker.config.skipgram_probability:
        length = rng.randint(2, masker.config.skipgram_size)
    start, end = position, position + length
    while start > 0 and tokens[start] in masker.continuations:
        start -= 1
    while end < len(tokens) and tokens[end] in masker.continuations:
        end += 1
    return range(start, min(end, len(tokens))) if start > 0 else range(0)


def _hide(masker: Masker, tokens: Sequence[int], places: Sequence[int], rng: Random) -> list[int]:
    """80 % [MASK], 10 % a random piece, 10 % as it was."""
    new = list(tokens)
    for place in places:
        if rng.random() < 0.8:
            new[place] = masker.mask_id
        elif rng.random() < 0.5:
            new[place] = rng.randint(0, masker.vocab_size - 1)
    return new
