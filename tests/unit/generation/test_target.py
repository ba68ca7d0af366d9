"""The sampler's target: what is stated holds for the people, to the exact share in every thousand of them, and nearly in fewer."""

import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from generation.annotate import annotate
from generation.config import PromptsConfig
from generation.prompt_texts import make_prompts
from generation.sampler import Look
from generation.target import VALUES, apportion
from generation.target_sampler import sample_looks
from pipeline.contracts.errors import ConfigError

DOCS = Path(__file__).parents[3] / "docs" / "generation.md"
TARGET = {"hat": {"with": 0.125, "without": 0.875}, "upper_colour": {"black": 3, "purple": 1}, "carried": {"backpack": 1}}


def looks(target: dict[str, Any], count: int = 1000, seed: int = 5) -> list[Look]:
    return list(islice(sample_looks(seed, target), count))


def is_consistent(look: Look) -> bool:
    return look.lower_type != "dress" or look.upper_colour == look.lower_colour


def test_a_target_is_met_exactly_in_every_thousand_prompts() -> None:
    for thousand in (looks(TARGET, 2000)[:1000], looks(TARGET, 2000)[1000:]):
        assert Counter(look.hat for look in thousand) == {True: 125, False: 875}
        assert {look.carried for look in thousand} == {"backpack"}
        assert Counter(look.gender for look in thousand) == {"woman": 500, "man": 500}  # not in the target: the sampler's own
        assert Counter(look.upper_colour for look in thousand) == {"black": 750, "purple": 250}  # dresses too
        assert "dress" in {look.lower_type for look in thousand}


@pytest.mark.parametrize(
    "shares",
    [
        {"upper_colour": {"black": 0.5, "white": 0.5}},
        {"upper_colour": {"black": 0.5, "red": 0.5}},  # no dress is red
        {"upper_colour": {"red": 1}},
        {"lower_colour": {"brown": 0.8, "blue": 0.2}},
        {"upper_colour": {"black": 0.4, "white": 0.6}, "lower_colour": {"black": 0.7, "white": 0.1, "pink": 0.2}},
        {"upper_colour": {"black": 0.4, "white": 0.6}, "lower_colour": {"blue": 1}},  # no colour for any dress
        {"upper_colour": {"black": 0.9, "red": 0.1}, "gender": {"woman": 1}, "lower_type_woman": {"dress": 0.9, "pants": 0.1}},
    ],
)
def test_dresses_follow_the_colours_that_are_stated(shares: dict[str, Any]) -> None:
    people = looks(shares)
    assert all(map(is_consistent, people))
    for name in {"upper_colour", "lower_colour"} & set(shares):
        assert Counter(getattr(look, name) for look in people) == {v: round(1000 * share) for v, share in shares[name].items()}
    if "lower_type_woman" in shares:
        assert Counter(look.lower_type for look in people) == {"dress": 900, "pants": 100}


RARE_BLACK = [
    {"upper_colour": {"red": 9, "black": 1}},
    {"upper_colour": {"red": 6, "black": 4}, "lower_colour": {"blue": 9, "black": 1}},
    {"upper_colour": {"black": 1}},  # lower clothes as the sampler draws them
]


@pytest.mark.parametrize("shares", RARE_BLACK)
def test_no_colour_becomes_a_mark_of_dresses_and_of_women_unless_the_target_says_so(shares: dict[str, Any]) -> None:
    people = looks(shares)
    usual = sum(look.lower_type == "dress" for look in looks({})) / len(people)
    for colour_of in (lambda look: look.upper_colour, lambda look: look.lower_colour):
        black = [look for look in people if colour_of(look) == "black"]
        assert 0 < sum(look.lower_type == "dress" for look in black) <= usual * len(black)
        assert sum(look.gender == "man" for look in black) > len(black) / 3


@pytest.mark.parametrize("shares", RARE_BLACK)
def test_stated_dresses_may_take_a_colour_wholly(shares: dict[str, Any]) -> None:
    dressed = [look for look in looks({**shares, "lower_type_woman": {"dress": 1, "pants": 4}}) if look.lower_type == "dress"]
    assert Counter(look.upper_colour for look in dressed) == {"black": 100}


def test_dress_colour_has_shares_of_its_own_and_the_others_are_then_of_other_clothes() -> None:
    people = looks({"upper_colour": {"red": 1}, "dress_colour": {"white": 1}, "lower_type_woman": {"dress": 1, "pants": 1}})
    assert Counter((look.lower_type == "dress", look.upper_colour) for look in people) == {(True, "white"): 250, (False, "red"): 750}


@pytest.mark.parametrize(
    ("name", "concerned", "value_of"),
    [
        ("lower_type_woman", lambda look: look.gender == "woman", lambda look: look.lower_type),
        ("lower_type_man", lambda look: look.gender == "man", lambda look: look.lower_type),
        ("lower_length", lambda look: look.lower_type in ("skirt", "dress"), lambda look: look.lower_length),
        ("dress_colour", lambda look: look.lower_type == "dress", lambda look: look.upper_colour),
    ],
)
def test_what_concerns_some_is_met_among_them(name: str, concerned: Callable[[Look], bool], value_of: Callable[[Look], str]) -> None:
    first, second = list(VALUES[name])[:2]
    found = Counter(value_of(look) for look in looks({"gender": {"woman": 3, "man": 1}, name: {first: 1, second: 3}}) if concerned(look))
    assert set(found) == {first, second}
    assert found[first] == pytest.approx(found.total() / 4, abs=1)


@pytest.mark.parametrize(("share", "name"), [(0.5, "gender"), (0.4, "gender"), (0.25, "upper_colour")])
def test_any_number_of_prompts_meets_the_shares_nearly(share: float, name: str) -> None:
    one, other = ("woman", "man") if name == "gender" else ("black", "red")
    target = {name: {one: share, other: 1 - share}}
    found = 0
    for number, look in enumerate(looks(target, 1500), 1):
        found += getattr(look, name) == one
        assert abs(found - number * share) <= 3


def test_any_number_of_prompts_meets_rare_colours_nearly() -> None:
    found = 0
    for number, look in enumerate(looks({"upper_colour": {"blue": 1}, "lower_colour": {"purple": 8, "blue": 1}}), 1):
        found += look.lower_colour == "blue"
        assert abs(found - number / 9) <= 3


def test_the_order_in_which_values_are_written_changes_nothing() -> None:
    target = {"gender": {"woman": 1, "man": 1}, "hat": {"with": 1, "without": 2}}
    turned = {name: dict(reversed(weights.items())) for name, weights in reversed(target.items())}
    assert looks(target, 50) == looks(turned, 50)


def test_a_longer_run_begins_with_the_prompts_of_a_shorter_one() -> None:
    shorter, longer = (make_prompts(PromptsConfig(num_prompts=number, target=TARGET), 4) for number in (20, 1050))
    assert longer[:20] == shorter


def test_a_target_reaches_the_labels_of_the_sentences() -> None:
    labels = [annotate(prompt.text) for prompt in make_prompts(PromptsConfig(num_prompts=200, target=TARGET), 1)]
    assert all(label["backpack"] == 0 for label in labels)
    assert sum(label["hat"] == 0 for label in labels) == 25
    assert sum(label["upper_black"] == 0 for label in labels) == 150


def test_shares_of_three_thirds_lose_nobody() -> None:
    assert apportion({"child": 1, "adult": 1, "elderly": 1}, 1000).total() == 1000


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"hats": {"with": 1}}, "did you mean hat"),
        ({"hat": {"wiht": 1}}, "did you mean with"),
        ({"hat": {"with": -1}}, "a number from 0 to 1000000000"),
        ({"hat": {"with": "1e9"}}, r"hat\.with='1e9'; accepted: a number from 0 to .* 1\.0e\+9, not 1e9"),
        ({"hat": {"with": 1e308, "without": 1}}, r"hat\.with=1e\+308; accepted: a number from 0 to"),  # overflows where shares are reckoned
        ({"hat": {"with": 10**400}}, "a number from 0 to"),
        ({"hat": {"with": 0}}, "all weights are 0"),
        ({"hat": []}, "weights of with, without"),
        (
            {"upper_colour": {"red": 1}, "lower_type_woman": {"dress": 1, "skirt": 1}},
            "250 wear a dress, but .* leave 0 .*dress_colour",
        ),
    ],
)
def test_impossible_targets_are_refused(target: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PromptsConfig(target=target)


def test_a_target_is_for_the_sampler_only() -> None:
    with pytest.raises(ConfigError, match=r"prompts\.target"):
        PromptsConfig(kind="text", file="x", target=TARGET)


def test_the_docs_list_every_name_with_its_values() -> None:
    section = DOCS.read_text(encoding="utf-8").split("## Prompts")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \| [^|`]+ \|$", section, re.MULTILINE)
    assert {name: values.split(", ") for name, values in rows} == {name: list(values) for name, values in VALUES.items()}
