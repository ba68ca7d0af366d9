"""What holds for every input of the generation stages' pure functions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from generation.annotate import annotate
from generation.caption_gate import most_repeats
from generation.crop import crop, crop_to_size, person_box
from generation.near_duplicates import find_repeats
from generation.prompt_files import normalised
from generation.prompts import image_items
from generation.sampler import sample_look
from generation.sentences import write_sentence
from generation.split import assign_shards, prompt_identity, validation_prompts
from tests.unit.generation.looks import stated_labels

seeds = st.integers(0, 2**63 - 1)


# ---- prompts --------------------------------------------------------------------------------------------------------------------------
@given(seeds, st.integers(0, 10**6), seeds)
def test_a_sampled_sentence_states_its_look(seed: int, index: int, style: int) -> None:
    look = sample_look(seed, index)
    stated = {name: value for name, value in annotate(write_sentence(look, style)).items() if value != -1}
    assert stated == stated_labels(look)


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 17))
def test_units_hold_every_image_once_in_key_order(num_prompts: int, variants: int, unit_size: int) -> None:
    prompts = [{"prompt_index": i, "prompt": str(i)} for i in range(num_prompts)]
    num_units = -(-num_prompts * variants // unit_size)
    keys = [item.key for unit in range(num_units) for item in image_items(prompts, unit, unit_size, variants)]
    assert keys == sorted(set(keys))
    assert len(keys) == num_prompts * variants


# ---- crop -----------------------------------------------------------------------------------------------------------------------------
points = arrays(np.float64, st.tuples(st.integers(2, 33), st.just(2)), elements=st.floats(-200, 700, width=32))
shares = st.floats(0, 0.5)


@given(points, shares, shares, shares, st.floats(0.2, 2))
def test_box_contains_all_points_and_has_the_aspect(xy: np.ndarray, top: float, bottom: float, side: float, aspect: float) -> None:
    x0, y0, x1, y1 = person_box(xy, pad_top=top, pad_bottom=bottom, pad_side=side, aspect=aspect)
    assert x0 <= xy[:, 0].min()
    assert xy[:, 0].max() <= x1
    assert y0 <= xy[:, 1].min()
    assert xy[:, 1].max() <= y1
    width, height = x1 - x0, y1 - y0
    assert width >= 1
    assert height >= 1
    # rounding outwards adds less than 2 px to each side of the exact box
    assert (width - 2) / height <= aspect + 1e-6
    assert width / max(height - 2, 1e-9) >= aspect - 1e-6 or height <= 2


@given(st.integers(1, 40), st.integers(1, 40), st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60), st.integers(1, 60))
def test_crop_takes_pixels_of_the_picture_only(height: int, width: int, x0: int, y0: int, box_width: int, box_height: int) -> None:
    image = np.arange(height * width * 3, dtype=np.int64).reshape(height, width, 3)
    part = crop(image, (x0, y0, x0 + box_width, y0 + box_height))  # type: ignore[arg-type]
    assert part.shape == (box_height, box_width, 3)
    assert set(np.unique(part)) <= set(np.unique(image))
    inside = crop(image, (0, 0, width, height))  # type: ignore[arg-type]
    assert (inside == image).all()


@settings(max_examples=30)
@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(1, 400), st.integers(1, 400))
def test_crop_to_size_has_the_size_and_keeps_a_flat_colour(x0: int, y0: int, width: int, height: int) -> None:
    image = np.full((128, 64, 3), (10, 200, 30), np.uint8)
    out = crop_to_size(image, (x0, y0, x0 + width, y0 + height), 256, 128)
    assert out.shape == (256, 128, 3)
    assert (out == image[0, 0]).all()


# ---- captions, splits, shards ---------------------------------------------------------------------------------------------------------
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4), st.integers(1, 5), st.lists(st.sampled_from("xyz"), max_size=3))
def test_a_loop_is_counted_wherever_it_stands(stretch: list[str], times: int, before: list[str]) -> None:
    assert most_repeats(before + stretch * times, range(1, 5)) >= times


@given(st.lists(st.sampled_from("abc"), max_size=14), st.integers(1, 7))
def test_most_repeats_equals_the_slow_count(words: list[str], max_words: int) -> None:
    slow = 1
    for size in range(1, max_words + 1):
        for start in range(len(words)):
            stretch, times = words[start : start + size], 1
            while len(stretch) == size and words[start + times * size : start + (times + 1) * size] == stretch:
                times += 1
            slow = max(slow, times)
    assert most_repeats(words, range(1, max_words + 1)) == slow


texts = st.text(alphabet="ab ", min_size=1, max_size=4)


limits = st.none() | st.integers(1, 400)


@given(st.dictionaries(st.integers(0, 999), texts, min_size=1, max_size=60), seeds, st.floats(0, 0.9), st.integers(1, 20), limits)
def test_shards_partition_the_keys_and_no_prompt_is_on_both_sides(
    prompts: dict[int, str], seed: int, fraction: float, size: int, max_bytes: int | None
) -> None:
    identity = {f"{i:09d}_00": prompt_identity(text) for i, text in prompts.items()}
    held_out = validation_prompts(set(identity.values()), seed, fraction)
    sizes = {key: 1 + int(key[:9]) % 97 for key in identity}
    split_of = {key: "val" if text in held_out else "train" for key, text in identity.items()}
    shards = assign_shards(split_of, seed, size, sizes, max_bytes)
    assert all(max_bytes is None or len(keys) == 1 or sum(sizes[k] for k in keys) <= max_bytes for keys in shards.values())
    keys = [key for members in shards.values() for key in members]
    assert sorted(keys) == sorted(identity)
    assert all(members == sorted(members) and 1 <= len(members) <= size for members in shards.values())
    sides = {split: {identity[k] for name, ks in shards.items() if name.startswith(split) for k in ks} for split in ("train", "val")}
    assert not sides["train"] & sides["val"]
    assert sides["train"]


@given(st.lists(st.integers(0, 11), min_size=1, max_size=40), st.integers(0, 4), seeds)
def test_near_duplicates_are_those_of_the_plain_comparison(sources: list[int], distance: int, seed: int) -> None:
    """Hashes a few bits around a dozen centres, against the greedy comparison of all pairs."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, 12, np.uint64)
    flips = [sum(1 << int(b) for b in rng.choice(64, int(rng.integers(0, 5)), replace=False)) for _ in sources]
    hashes = [int(centres[i]) ^ flip for i, flip in zip(sources, flips, strict=True)]
    kept: list[int] = []
    slow: dict[int, int] = {}
    for place, value in enumerate(hashes):
        original = next((k for k in kept if (hashes[k] ^ value).bit_count() <= distance), None)
        if original is None:
            kept.append(place)
        else:
            slow[place] = original
    assert find_repeats(np.array(hashes, np.uint64), distance).keys() == slow.keys()


@given(st.text() | st.text(st.characters(max_codepoint=127)))
def test_normalised_texts_are_what_a_look_at_each_character_gives(text: str) -> None:
    assert normalised(text) == " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
