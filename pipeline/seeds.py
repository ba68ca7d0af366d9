"""Seeds that depend on what is made, never on when, where or in which batch it is made."""

import hashlib


def derive_seed(run_seed: int, *parts: str | int) -> int:
    """A 63-bit seed from the run's seed and the names of the thing to be made, e.g. derive_seed(7, "generate", key)."""
    text = "\x1f".join([str(run_seed), *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
