"""What became of every image of a run, for the summary at the end of the tests (tests/conftest.py): nothing may be lost."""

from collections import Counter

from pipeline import graph
from pipeline.completion import read_record
from pipeline.paths import RunPaths
from pipeline.tables import read_rows

TOLD: list[str] = []  # by the test that runs; conftest.py takes them from here


def tell(paths: RunPaths) -> None:
    """Have the tally printed once all tests are over."""
    TOLD.append(tally(paths))


def tally(paths: RunPaths) -> str:
    """Counts by stage from records and from ledgers, which must agree."""
    parts = []
    for spec in graph.STAGES:
        counts: Counter[str] = Counter()
        ledger: Counter[str] = Counter()
        for unit in paths.done_units(spec.name):
            record = read_record(paths, spec.name, unit)
            assert record is not None
            for name in ("seen", "kept", "dropped", "failed"):
                counts[name] += getattr(record.counts, name)
            ledger.update(row["status"] for row in read_rows(paths.ledger(spec.name, unit)))
        assert counts["seen"] == counts["kept"] + counts["dropped"] + counts["failed"] == sum(ledger.values()) > 0
        assert all(ledger[name] == counts[name] for name in ("kept", "dropped", "failed"))
        parts.append(f"{spec.name} {counts['seen']} == {counts['kept']} + {counts['dropped']} + {counts['failed']}")
    return ", ".join(parts)
