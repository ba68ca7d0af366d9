"""The template grammar of the challenge's texts."""

from random import Random

import pytest

from finetune.datasets.challenge import Pedestrian, read_labels
from pipeline.contracts.challenge import BITS_21, VehicleTag
from pipeline.contracts.challenge_sentences import is_pedestrian_text, mentioned, write_pedestrian, write_vehicle
from pipeline.contracts.errors import ContractError


def bits_of(*names: str) -> list[int]:
    return [int(name in names) for name in BITS_21.names]


MAN = ("age_18_60", "front", "short_sleeve")


class EveryChoice(Random):
    """A source of choices that is steered through all of them: `path` holds the indices chosen, `sizes` how many there were."""

    def __init__(self, path: list[int]) -> None:
        super().__init__()
        self.path, self.sizes = path, []

    def choice(self, options):
        self.sizes.append(len(options))
        if len(self.path) < len(self.sizes):
            self.path.append(0)
        return options[self.path[len(self.sizes) - 1]]


def every_text(bits, boots: bool) -> set[str]:
    texts, path = set(), []
    while True:
        choices = EveryChoice(path)
        texts.add(write_pedestrian(bits, choices, boots))
        while path and path[-1] == choices.sizes[len(path) - 1] - 1:
            path.pop()
        if not path:
            return texts
        path[-1] += 1


def test_what_is_worn_silences_sleeves_pattern_and_skirt():
    text = write_pedestrian(
        bits_of("female", "age_18_60", "back", "hat", "glasses", "long_sleeve", "upper_logo", "skirt_or_dress"), Random(0), boots=True
    )
    assert text.endswith(" She is wearning a hat,glasses,boots.")


def test_one_bag_is_named_and_the_handbag_goes_first():
    text = write_pedestrian(bits_of(*MAN, "handbag", "backpack"), Random(0))
    assert "handbag" in text
    assert "backpack" not in text


def test_a_man_is_he_and_him_throughout():
    for seed in range(20):
        text = write_pedestrian(bits_of(*MAN), Random(seed))
        assert "his body facing the camera" in text
        assert " He is in a " in text
        assert not {"her", "She", "female", "woman"} & set(text.replace(",", "").split())


@pytest.mark.parametrize("bits", [[0] * 21, [1] * 21, bits_of(*MAN)[:-1], bits_of(*MAN, "age_over_60"), [*bits_of(*MAN)[:-1], 2]])
def test_impossible_bits_are_refused(bits):
    with pytest.raises(ContractError, match="bits"):
        write_pedestrian(bits, Random(0))


def test_an_before_orange_only():
    assert {write_vehicle(VehicleTag("orange", "BYD"), Random(s)) for s in range(20)} == {"This is an orange BYD.", "An orange BYD."}
    assert {write_vehicle(VehicleTag(type="SUV"), Random(s)) for s in range(20)} == {"This is a SUV.", "A SUV."}


def test_both_spellings_of_wearing_are_understood():
    for word in ("wearning", "wearing"):
        said = mentioned(f"A male pedestrian who is a minor, and is standing sideways. He is {word} glasses,a coat that is long,boots.")
        assert {BITS_21.names[i] for i, v in enumerate(said) if v == 1} == {"age_under_18", "side", "glasses", "long_coat"}
        assert said[0] == 0


def test_a_text_outside_the_grammar_says_nothing_and_is_a_vehicle():
    assert mentioned("This is a Style.") == (-1,) * 21
    assert not is_pedestrian_text("A red Mini Minivan.")
    assert is_pedestrian_text("A walking woman who is a minor.")


def test_every_real_text_is_one_that_the_grammar_writes(shared):
    people = [r for r in read_labels(shared / "data" / "challenge" / "val_label_sample.txt") if isinstance(r, Pedestrian)]
    for record in people[::5]:
        assert record.text in every_text(record.bits, boots=record.text.endswith("boots.")), record.text
