"""What holds for every input of the task runtime."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.completion import partition
from pipeline.contracts.stage import Drop, Fail, Item, Keep
from pipeline.inputs import UnitInput, chained_input
from pipeline.paths import RunPaths
from pipeline.runner import run_units
from pipeline.seeds import derive_seed
from pipeline.tables import read_rows, write_rows
from pipeline.tars import read_tar, write_tar

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6)
COLUMNS = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4, unique=True)
KEYS = st.lists(st.integers(0, 10**9 - 1), unique=True, max_size=15).map(lambda ns: [f"{n:09d}_00" for n in sorted(ns)])
OUTCOMES = st.sampled_from(["keep", "blank_image", "no_person", "fail"])


@given(st.integers(0, 300), st.integers(1, 50))
def test_tasks_partition_the_units(num_units, num_tasks):
    parts = partition(num_units, num_tasks)
    assert len(parts) == num_tasks
    assert sorted(unit for part in parts for unit in part) == list(range(num_units))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_rows_come_back_as_they_were_and_twice_with_the_same_bytes(data):
    names = data.draw(COLUMNS)
    rows = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, VALUES)), min_size=1, max_size=6))
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a"), Path(folder, "b")
        write_rows(first, rows)
        write_rows(second, read_rows(first))
        assert read_rows(first) == rows
        assert read_rows(second) == rows


@given(st.dictionaries(st.from_regex(r"[0-9]{9}_[0-9]{2}\.(png|jpg)", fullmatch=True), st.binary(max_size=2000), max_size=8))
@settings(max_examples=60, deadline=None)
def test_tar_members_come_back_as_they_were(members):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.tar")
        write_tar(path, sorted(members.items()))
        assert {m.name: m.data for m in read_tar(path)} == members
        content = path.read_bytes()
        assert all(content[m.offset : m.offset + len(m.data)] == m.data for m in read_tar(path))


class Judge:
    """Gives each key the outcome that was drawn for it."""

    name, reads_images, writes_images = "caption", False, False

    def __init__(self, verdicts, batch_size):
        self.verdicts, self.batch_size = verdicts, batch_size

    def setup(self):
        pass

    def teardown(self):
        pass

    def process(self, batch):
        made = {"keep": Keep({"x": 1}), "fail": Fail("worker_died")}
        return [made.get(self.verdicts[item.key]) or Drop(self.verdicts[item.key]) for item in batch]


@given(st.data(), KEYS, st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_the_ledger_balances_and_exactly_the_kept_go_on(data, keys, batch_size):
    verdicts = {key: data.draw(OUTCOMES) for key in keys}
    with tempfile.TemporaryDirectory() as folder:
        paths = RunPaths(Path(folder))
        items = [Item(key, {"key": key}) for key in keys]
        (record,) = run_units(Judge(verdicts, batch_size), paths, [0], config_digest="c", inputs=lambda unit: UnitInput(items, "i"))
        rows = read_rows(paths.ledger("caption", 0))
        assert [row["key"] for row in rows] == keys
        counts = record.counts
        assert counts.seen == len(keys) == counts.kept + counts.dropped + counts.failed
        assert counts.kept == list(verdicts.values()).count("keep")
        assert [row["key"] for row in rows if row["status"] == "kept"] == [
            i.key for i in chained_input(paths, "caption", None, False)(0).items
        ]


@given(st.integers(0, 2**31), st.lists(st.text(max_size=5) | st.integers(0, 99), min_size=1, max_size=3))
def test_seeds_fit_in_63_bits_and_depend_on_every_part(run_seed, parts):
    seed = derive_seed(run_seed, *parts)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(run_seed, *parts)
    assert seed != derive_seed(run_seed + 1, *parts)
    assert seed != derive_seed(run_seed, *parts, "more")
