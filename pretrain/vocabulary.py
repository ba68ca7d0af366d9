"""A WordPiece vocabulary for the embedded models: learned from captions, attribute prompts and the challenge's sentences.

Every printable ASCII character gets an entry of its own, bare and as continuation, so that no English text holds an unknown word.
"""

import string
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from random import Random

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.challenge import BITS_21, BRANDS, COLOURS, EXCLUSIVE_BITS, TYPES, VehicleTag
from pipeline.contracts.challenge_sentences import write_pedestrian, write_vehicle
from pipeline.contracts.errors import ContractError
from pretrain.tokenizer import SPECIAL

MIN_FREQUENCY = 2
TEMPLATE_REPEATS = 50  # of each tag and prompt: their words are rare beside thousands of captions, and shall stay whole
PEDESTRIAN_TEXTS = 4000


def build_vocabulary(captions: Sequence[str], size: int) -> list[str]:
    """At most `size` pieces (more only if the characters alone need more), special ones first. Equal captions give equal pieces."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = string.ascii_lowercase + string.digits
    characters = [*letters, *string.punctuation, *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size - len(SPECIAL) - len(characters), min_frequency=MIN_FREQUENCY, special_tokens=[], show_progress=False
    )
    texts = [*captions, *template_texts()]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.model = models.WordPiece({piece: index for index, piece in enumerate(["[UNK]", *tokenizer.get_vocab()])}, unk_token="[UNK]")
    used = Counter(piece for encoding in tokenizer.encode_batch(texts) for piece in encoding.tokens)
    # The trainer breaks ties at random, which shows only in steps towards longer pieces: no text uses them in the end.
    learned = sorted(used.keys() - {"[UNK]"}, key=lambda piece: (-used[piece], piece))
    return list(dict.fromkeys([*SPECIAL, *characters, *learned]))


def template_texts() -> Iterator[str]:
    """Prompts of both attribute spaces, random pedestrian lines and every vehicle tag of the challenge."""
    rng = Random(0)
    for _ in range(TEMPLATE_REPEATS):
        yield from PERSON_27.prompts
        yield from BITS_21.prompts
        yield from (write_vehicle(VehicleTag(colour, brand), rng) for colour, brand in product(COLOURS[:1], BRANDS))
        yield from (write_vehicle(VehicleTag(colour, None, kind), rng) for colour, kind in product(COLOURS, TYPES))
    for _ in range(PEDESTRIAN_TEXTS):
        yield write_pedestrian(_random_bits(rng), rng, boots=rng.random() < 0.1)


def _random_bits(rng: Random) -> list[int]:
    bits = [int(rng.random() < 0.3) for _ in BITS_21.names]
    for group in EXCLUSIVE_BITS:
        chosen = rng.choice(group)
        for bit in group:
            bits[bit] = int(bit == chosen)
    return bits


def read_captions(path: Path) -> list[str]:
    """The non-empty lines of a UTF-8 file. Raises ContractError if it holds none or is not UTF-8."""
    try:
        captions = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as err:
        raise ContractError(f"{path} is not UTF-8 ({err}); save it as UTF-8, one caption a line") from err
    if not captions:
        raise ContractError(f"{path} holds no caption; give one a line")
    return captions
