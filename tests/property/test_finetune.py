"""What must hold for every label line, text and submission."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from finetune.datasets.challenge import Pedestrian, check_lines
from finetune.submission import average_precision_at, official_average_precision
from pipeline.contracts.challenge import BRANDS, COLOURS, EXCLUSIVE_BITS, TYPES, VehicleTag, includes, parse_tag
from pipeline.contracts.challenge_parse import parse_pedestrian, parse_vehicle
from pipeline.contracts.challenge_sentences import draw_sentence, is_pedestrian_text, mentioned, write_pedestrian, write_vehicle

SEEDS = st.integers(0, 2**32)


@st.composite
def legal_bits(draw) -> tuple[int, ...]:
    bits = draw(st.lists(st.integers(0, 1), min_size=21, max_size=21))
    for group in EXCLUSIVE_BITS:
        chosen = draw(st.sampled_from(group))
        for bit in group:
            bits[bit] = int(bit == chosen)
    return tuple(bits)


@st.composite
def tags(draw) -> VehicleTag:
    slots = [draw(st.sampled_from((None, *words))) for words in (COLOURS, BRANDS, TYPES)]
    return VehicleTag(*slots) if any(slots) else VehicleTag(type="Bus")


@given(legal_bits(), SEEDS, st.booleans())
def test_a_written_text_says_only_what_the_bits_hold(bits, seed, boots):
    text = write_pedestrian(bits, Random(seed), boots)
    assert is_pedestrian_text(text)
    assert all(said in (-1, bit) for said, bit in zip(mentioned(text), bits, strict=True))


@given(legal_bits(), SEEDS)
def test_gender_age_and_view_are_always_said(bits, seed):
    said = mentioned(write_pedestrian(bits, Random(seed)))
    assert said[:7] == bits[:7]


@given(legal_bits(), legal_bits(), legal_bits())
def test_inclusion_is_reflexive_and_transitive(first, second, third):
    assert includes(first, first)
    assert not (includes(first, second) and includes(second, third)) or includes(first, third)


@given(tags(), SEEDS)
def test_tags_survive_writing_and_reading(tag, seed):
    assert parse_tag(str(tag)) == tag
    text = write_vehicle(tag, Random(seed))
    assert not is_pedestrian_text(text)
    assert text.endswith(f" {tag}")


@given(st.lists(legal_bits(), min_size=1, max_size=8), SEEDS)
def test_lines_are_read_back(rows, seed):
    expected = [Pedestrian(f"{i:06d}.jpg", bits, write_pedestrian(bits, Random(seed + i))) for i, bits in enumerate(rows)]
    lines = [f"{r.image}${','.join(map(str, r.bits))}${r.text}" for r in expected]
    assert check_lines(lines) == (expected, [])


@given(st.text(max_size=120))
def test_no_line_whatever_makes_the_reader_stumble(line):
    records, problems = check_lines([line])
    assert len(records) + len(problems) == 1


@given(st.lists(st.integers(0, 15), max_size=10, unique=True), st.sets(st.integers(0, 15), min_size=1))
def test_scores_lie_between_nothing_and_everything(ranked, wanted):
    names, positives = [str(i) for i in ranked], [str(i) for i in wanted]
    standard, official = average_precision_at(names, positives), official_average_precision(names, positives)
    assert 0 <= standard <= official + 1e-5 <= 1 + 2e-5


@given(legal_bits(), SEEDS, st.booleans())
def test_a_written_text_parses_back_to_what_it_was_written_from(bits, seed, boots):
    sentence = draw_sentence(bits, Random(seed), boots)
    assert parse_pedestrian(str(sentence)) == sentence


@given(tags(), SEEDS)
def test_a_vehicle_text_parses_back_to_its_tag(tag, seed):
    assert parse_vehicle(write_vehicle(tag, Random(seed))) == tag
