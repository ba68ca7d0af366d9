import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contracts.errors import ConfigError
from pipeline.unit_list import format_units, parse_units


@pytest.mark.parametrize(
    ("text", "units"),
    [("3", [3]), ("3,7,10-12", [3, 7, 10, 11, 12]), ("0-9:4", [0, 4, 8]), ("5, 1-2,2", [1, 2, 5]), ("0-19", list(range(20)))],
)
def test_units_are_read_ascending_and_once(text, units):
    assert parse_units(text, 20) == units


@pytest.mark.parametrize("text", ["", "a", "3-", "-3", "1,,2", "5-3", "1-4:0", "20", "18-20", "1;rm"])
def test_what_is_no_list_or_not_in_the_run_is_refused(text):
    with pytest.raises(ConfigError, match="--units"):
        parse_units(text, 20)


def test_residue_classes_and_stretches_are_short():
    assert format_units(range(3, 1500000, 369)) == "3-1499988:369"
    assert format_units([1, 2, 4, 5, 6, 7, 20, 30, 40]) == "1,2,4-7,20-40:10"


@given(st.sets(st.integers(0, 300)))
def test_what_is_written_reads_back(units):
    text = format_units(units)
    assert (parse_units(text, 301) if text else []) == sorted(units)
