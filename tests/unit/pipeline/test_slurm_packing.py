from hypothesis import given
from hypothesis import strategies as st

from pipeline.slurm.packing import Window, pack, starting_stages, windows

CHAIN = ("generate", "filter", "caption")


def test_a_unit_starts_at_the_first_stage_that_lacks_it():
    missing = {"generate": [4], "filter": [2, 4], "caption": [1, 2, 4]}
    assert starting_stages(CHAIN, missing) == {1: "caption", 2: "filter", 4: "generate"}


def test_a_whole_run_packs_into_residue_classes():
    (group,) = pack(dict.fromkeys(range(10), "generate"), CHAIN, 3, 1001)
    assert group.tasks == ((0, 4, 8), (1, 5, 9), (2, 6), (3, 7))


def test_more_tasks_than_an_array_may_have_make_several_arrays_and_no_empty_one():
    groups = pack(dict.fromkeys(range(8), "filter"), CHAIN, 1, 4)
    assert [(group.start, len(group.tasks)) for group in groups] == [("filter", 4), ("filter", 4)]
    assert pack({}, CHAIN, 1, 4) == []


def test_arrays_are_of_one_size_so_that_none_leaves_its_share_of_the_window_idle():
    groups = pack(dict.fromkeys(range(1500), "filter"), CHAIN, 1, 1001)
    assert [len(group.tasks) for group in groups] == [750, 750]
    assert [len(group.tasks) for group in pack(dict.fromkeys(range(11), "filter"), CHAIN, 1, 4)] == [3, 4, 4]


@given(st.dictionaries(st.integers(0, 60), st.sampled_from(CHAIN)), st.integers(1, 7), st.integers(1, 5))
def test_every_missing_unit_is_in_one_task(starts, units_per_task, max_array_size):
    groups = pack(starts, CHAIN, units_per_task, max_array_size)
    tasks = [(group.start, task) for group in groups for task in group.tasks]
    assert sorted(unit for _, task in tasks for unit in task) == sorted(starts)
    assert all(starts[unit] == start for start, task in tasks for unit in task)
    assert all(0 < len(group.tasks) <= max_array_size for group in groups)
    assert all(0 < len(task) <= units_per_task for _, task in tasks)
    for start in CHAIN:
        sizes = [len(group.tasks) for group in groups if group.start == start]
        assert not sizes or max(sizes) - min(sizes) <= 1


@given(st.integers(1, 12), st.one_of(st.none(), st.integers(1, 20)))
def test_arrays_side_by_side_never_have_more_tasks_than_the_window(num_arrays, max_running):
    shares = windows(num_arrays, max_running)
    assert len(shares) == num_arrays
    if max_running is None:
        assert shares == [Window(None, None)] * num_arrays
        return
    first = [share for share in shares if share.after is None]
    assert sum(share.running for share in first) <= max_running
    assert all(share.running >= 1 for share in shares)
    lanes = len(first)
    assert all(shares[i].after == i - lanes and shares[i].running == shares[i - lanes].running for i in range(lanes, num_arrays))
