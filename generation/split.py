"""Which sample goes into which split and shard: pure functions of keys, prompts and the run's seed."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.seeds import derive_seed

SPLITS = ("train", "val")


def validation_prompts(prompts: set[str], seed: int, fraction: float) -> set[str]:
    """The prompt texts (as `prompt_identity` gives them) whose samples go to validation: the share `fraction`, at least one, never all."""
    return set(sorted(prompts, key=lambda text: split_number(text, seed))[: num_validation(len(prompts), fraction)])


def num_validation(num_prompts: int, fraction: float) -> int:
    """How many of so many prompts are held out: those with the smallest `split_number`."""
    if fraction == 0 or num_prompts < 2:
        return 0
    return min(max(round(fraction * num_prompts), 1), num_prompts - 1)


def split_number(text: str, seed: int) -> int:
    """63 bits that order prompts (as `prompt_identity` gives them) for the split."""
    return derive_seed(seed, "split", text)


def prompt_identity(prompt: str) -> str:
    """Texts that differ in case or spacing only are one prompt."""
    return " ".join(prompt.lower().split())


def assign_shards(
    split_of: Mapping[str, str], seed: int, samples_per_shard: int, sizes: Mapping[str, int] | None = None, max_bytes: int | None = None
) -> dict[str, list[str]]:
    """key -> split becomes shard file name -> keys in ascending order.

    Which shard a key goes to is shuffled over the whole run; inside a shard keys ascend, as WebDataset grouping and `lint` want them
    (loaders draw their own order from the index). A shard is full at samples_per_shard samples, or when the next one would take it over
    max_bytes, with `sizes` the bytes that each sample takes.
    """
    shards: dict[str, list[str]] = {}
    for split in SPLITS:
        keys = sorted((key for key, name in split_of.items() if name == split), key=lambda key: derive_seed(seed, "shard", key))
        for number, members in enumerate(_filled(keys, samples_per_shard, sizes or {}, max_bytes)):
            shards[f"{split}-{number:06d}.tar"] = sorted(members)
    return shards


def _filled(keys: Sequence[str], max_samples: int, sizes: Mapping[str, int], max_bytes: int | None) -> Iterator[list[str]]:
    members: list[str] = []
    used = 0
    for key in keys:
        size = sizes.get(key, 0)
        if members and (len(members) == max_samples or (max_bytes is not None and used + size > max_bytes)):
            yield members
            members, used = [], 0
        members.append(key)
        used += size
    if members:
        yield members
