"""The collector rests inside the block, and is as before after it."""

import gc

import pytest

from pipeline.collector import paused


def _fail_inside():
    with paused():
        assert not gc.isenabled()
        raise KeyError


@pytest.mark.parametrize("was_on", [True, False])
def test_it_rests_inside_and_is_as_before_afterwards_whatever_happens(was_on):
    (gc.enable if was_on else gc.disable)()
    frozen = gc.get_freeze_count()
    try:
        with pytest.raises(KeyError):
            _fail_inside()
        assert gc.isenabled() is was_on
        assert gc.get_freeze_count() > frozen, "what has come stays"
    finally:
        gc.enable()
        gc.unfreeze()
