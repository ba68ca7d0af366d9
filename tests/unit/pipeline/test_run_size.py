"""`stats` and `report` keep numbers of a row, not the row: what 1.5 million rows need follows from what a few thousand do."""

import tracemalloc
from pathlib import Path

from benchmarks.run_size import MEASURES, UNIT, make_run
from pipeline.paths import RunPaths
from pipeline.run_report import write_report

BYTES_A_ROW = 4 * len(MEASURES) + 150  # a float32 a measure; of caption and prompt, all different, a number with its count; the key


def peak(folder: Path, num_rows: int) -> int:
    paths = RunPaths(folder / str(num_rows))
    make_run(paths, num_rows)
    tracemalloc.start()
    try:
        write_report(paths, folder / "report.html", num_samples=0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_row_more_costs_a_few_hundred_bytes(tmp_path: Path) -> None:
    peak(tmp_path, UNIT)  # what a first call loads and keeps
    few, many = 8 * UNIT, 32 * UNIT
    a_row = (peak(tmp_path, many) - peak(tmp_path, few)) / (many - few)
    assert a_row < BYTES_A_ROW
