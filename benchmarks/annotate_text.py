"""Captions a second of the annotation, on one core.

    python benchmarks/annotate_text.py [FILE.jsonl ...]

Captions in the manner of BLIP, of MALS and of CUHK-PEDES, and longer ones; prompts of the sampler; and for every FILE (JSONL with
`caption`) its captions and their pieces in new orders: 100,000 of each kind, a fifteenth of MALS, and by themselves the first 20,000, when
less is known. Each caption is new to the process. They are read a thousand at a time, as the stage and the command read them, and every
fifth thousand one by one. Times are CPU seconds; the command is `annotate-text` with its JSON, from start to end. The plain loop of Python
is to compare machines by: run this on an idle one.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine import machine
from varied_captions import cuhk_like, different, shuffled

from generation.annotate import annotate, annotate_all
from generation.config import PromptsConfig
from generation.prompts import make_prompts

COUNT = 100_000
FIRST = 20_000
CHUNK = 1000
SINGLY_EVERY = 5  # of the thousands
WHO = ("a man", "a woman", "a young boy", "a lady", "there is a man", "arafed woman", "a man is")
COLOURS = ("red", "black", "blue", "white", "grey", "pink", "dark blue", "brown")
UPPER = ("shirt", "jacket", "coat", "t - shirt", "hoodie", "sweater", "top")
LOWER = ("jeans", "pants", "shorts")
REST = ("walking down the street", "standing on a sidewalk", "holding a cell phone", "with a backpack", "and a white hat", "carrying a bag")
MORE = (
    "in front of a building",
    "with long hair",
    "and a pair of sneakers",
    "with her hand on her hip",
    "next to a parked car",
    "and a scarf around his neck",
    "in the middle of a street",
    "and black shoes",
    "looking at the camera",
    "with a purse on her shoulder",
    "on a brick walkway",
    "and sunglasses on his head",
)


def blip_like(rng: random.Random) -> str:
    """The short sentences that a captioner writes over and over."""
    upper, lower = f"a {rng.choice(COLOURS)} {rng.choice(UPPER)}", f"{rng.choice(COLOURS)} {rng.choice(LOWER)}"
    return f"{rng.choice(WHO)} wearing {upper} and {lower} {rng.choice(REST)} {rng.choice(REST)}"


def mals_like(rng: random.Random) -> str:
    """Longer ones, as those of MALS are: 27 words on average."""
    return " ".join([blip_like(rng), *rng.sample(MORE, rng.choice((1, 2, 2, 3)))])


def measure(name: str, captions: Sequence[str]) -> None:
    """The first thousand are slower: nothing of them is known yet."""
    together, singly = [], []
    for number, chunk in enumerate(batched(captions, CHUNK)):
        one_by_one = number % SINGLY_EVERY == SINGLY_EVERY - 1
        started = time.process_time()
        for some in ([caption] for caption in chunk) if one_by_one else (chunk,):
            annotate_all(some)
        (singly if one_by_one else together).append((time.process_time() - started) / len(chunk))
    words = sum(len(caption.split()) for caption in captions) / len(captions)
    alone = f", one by one {len(singly) / sum(singly):,.0f}" if singly else ""
    first = together[: FIRST // CHUNK * (SINGLY_EVERY - 1) // SINGLY_EVERY]
    print(
        f"{name}: {len(together) / sum(together):,.0f} captions a second, the first {FIRST} at {len(first) / sum(first):,.0f}, of {CHUNK} "
        f"in a row {1 / max(together):,.0f} to {1 / min(together):,.0f}{alone} ({len(captions)} different ones of {words:.0f} words); "
        f"plain loop {plain_loop():.1f} million rounds a second",
        flush=True,
    )


def batched(captions: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (captions[first : first + size] for first in range(0, len(captions), size))


def measure_command(captions: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "captions.jsonl"
        file.write_text("".join(json.dumps({"id": str(i), "caption": caption}) + "\n" for i, caption in enumerate(captions)))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        argv = [sys.executable, "-m", "generation", "annotate-text", str(file)]
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 -- argv list, no shell
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"the command on {len(captions)} of CUHK's manner: {len(captions) / seconds:,.0f} captions a second with start and JSON", flush=True
    )


def plain_loop() -> float:
    started, total = time.process_time(), 0
    for i in range(1_000_000):
        total += i & 3
    return 1 / (time.process_time() - started)


def main() -> None:
    print(machine())
    annotate("load the rules")
    rng = random.Random(0)
    cuhk = different((cuhk_like(rng) for _ in range(10 * COUNT)), COUNT)
    measure("in the manner of BLIP", different((blip_like(rng) for _ in range(10 * COUNT)), COUNT))
    measure("the same, as long as in MALS", different((mals_like(rng) for _ in range(10 * COUNT)), COUNT))
    measure("in the manner of CUHK-PEDES", cuhk)
    measure("the same, longer", different((cuhk_like(rng, (2, 3, 3, 4)) for _ in range(10 * COUNT)), COUNT))
    measure("prompts of the sampler", different((p.text for p in make_prompts(PromptsConfig(num_prompts=COUNT), 0)), COUNT))
    for file in sys.argv[1:]:
        captions = [json.loads(line)["caption"] for line in Path(file).read_text(encoding="utf-8").splitlines()]
        measure(file, list(dict.fromkeys(captions)))
        measure(f"{file}, pieces in new orders", different((shuffled(captions, rng) for _ in range(10 * COUNT)), COUNT))
    measure_command(cuhk)


if __name__ == "__main__":
    main()
