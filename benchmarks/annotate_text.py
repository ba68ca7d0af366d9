"""Captions a second of the annotation, on one core.

    python benchmarks/annotate_text.py [FILE.jsonl ...]     files with `caption`; without one: captions in the manner of BLIP, and prompts

Each caption is new to the process. Times are CPU seconds; the last line is a plain loop of Python on the same core, to compare machines by.
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from generation.annotate import annotate
from generation.config import PromptsConfig
from generation.prompts import make_prompts

COUNT = 20_000
WHO = ("a man", "a woman", "a young boy", "a lady", "there is a man", "arafed woman", "a man is")
COLOURS = ("red", "black", "blue", "white", "grey", "pink", "dark blue", "brown")
UPPER = ("shirt", "jacket", "coat", "t - shirt", "hoodie", "sweater", "top")
LOWER = ("jeans", "pants", "shorts")
REST = ("walking down the street", "standing on a sidewalk", "holding a cell phone", "with a backpack", "and a white hat", "carrying a bag")


def blip_like(rng: random.Random) -> str:
    """The short sentences that a captioner writes over and over."""
    upper, lower = f"a {rng.choice(COLOURS)} {rng.choice(UPPER)}", f"{rng.choice(COLOURS)} {rng.choice(LOWER)}"
    return f"{rng.choice(WHO)} wearing {upper} and {lower} {rng.choice(REST)} {rng.choice(REST)}"


def measure(name: str, captions: Sequence[str]) -> None:
    started = time.process_time()
    for caption in captions:
        annotate(caption)
    print(f"{name}: {len(captions) / (time.process_time() - started):,.0f} captions a second ({len(captions)} different ones)")


def main() -> None:
    annotate("load the rules")
    for file in sys.argv[1:]:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
        measure(file, list(dict.fromkeys(json.loads(line)["caption"] for line in lines)))
    rng = random.Random(0)
    measure("in the manner of BLIP", list(dict.fromkeys(blip_like(rng) for _ in range(COUNT))))
    measure("prompts of the sampler", list(dict.fromkeys(p.text for p in make_prompts(PromptsConfig(num_prompts=COUNT // 4), 0))))
    started, total = time.process_time(), 0
    for i in range(2_000_000):
        total += i & 3
    print(f"plain loop: {2 / (time.process_time() - started):.1f} million rounds a second")


if __name__ == "__main__":
    main()
