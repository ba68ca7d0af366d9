"""How long does a query over a million embeddings take? python benchmarks/search.py [COUNT] [DIM] [FOLDER]

Random directions around 2,000 centres stand in for pictures, a random direction for each prompt. The index is written to FOLDER (2 GB for
a million; default: a temporary one) and opened as `passerby search` opens it, memory-mapped. Reported: seconds to build; milliseconds per
query, wall clock and CPU of the process, through the lists and, for comparison, exactly; with a filter, which is exact; and the share of
the true ten nearest that the shortlist of 128 holds.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from finetune.search.index import META, Index, make_faiss, open_index
from pipeline.fileio import write_json

QUERIES, SHORTLIST, CENTRES, SPREAD = 50, 128, 2000, 0.7


def main(count: int = 1_000_000, dim: int = 256, folder: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(count, dim, Path(folder or temporary)), indent=1))


def measure(count: int, dim: int, folder: Path) -> dict[str, Any]:
    if not (folder / META).is_file():
        build(count, dim, folder)
    facts = json.loads((folder / META).read_text())
    began = time.perf_counter()
    index = open_index(folder)
    opened = time.perf_counter() - began
    rng = np.random.default_rng(1)
    asked = np.array(index.features[np.sort(rng.choice(count, QUERIES, replace=False))])
    found: list[np.ndarray] = []
    lists = timed(asked, lambda query: found.append(index.nearest(query, SHORTLIST)[1]))
    rows = np.flatnonzero(np.asarray(index.features[:, 0]) > np.quantile(np.asarray(index.features[::100, 0]), 0.9))
    filtered = timed(asked[:10], lambda query: index.nearest(query, SHORTLIST, rows))
    exact: list[np.ndarray] = []
    flat = exact_index(index)
    plain = timed(asked[:10], lambda query: exact.append(flat.search(query[None], 10)[1][0]))
    held = [len(set(true) & set(rows)) / 10 for true, rows in zip(exact, found, strict=False)]
    return {
        "count": count,
        "dim": dim,
        "threads": faiss.omp_get_max_threads(),
        "build_s": facts["build_s"],
        "open_s": round(opened, 2),
        "lists_ms": lists,
        "exact_ms": plain,
        "filter_to_a_tenth_ms": filtered,
        "recall_of_10_in_128": round(float(np.mean(held)), 3),
    }


def build(count: int, dim: int, folder: Path) -> None:
    """The files of an index, with made up features."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CENTRES, dim)).astype(np.float32)
    features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (count, dim))
    for start in range(0, count, 50_000):
        rows = min(50_000, count - start)
        part = centres[rng.integers(0, CENTRES, rows)] + SPREAD * rng.normal(size=(rows, dim)).astype(np.float32)
        features[start : start + rows] = part / np.linalg.norm(part, axis=1, keepdims=True)
    began = time.process_time()
    faiss.write_index(make_faiss(features), str(folder / "index.faiss"))
    seconds = round(time.process_time() - began, 1)
    (folder / "names.json").write_text(json.dumps([f"{number}.jpg" for number in range(count)]))
    facts = {"images": count, "pictures": str(folder), "checkpoint": str(folder), "build_s": seconds}
    write_json(folder / META, facts)


def exact_index(index: Index) -> Any:
    flat = faiss.IndexFlatIP(index.features.shape[1])
    for start in range(0, len(index.features), 65_536):
        flat.add(np.ascontiguousarray(index.features[start : start + 65_536]))
    return flat


def timed(queries: np.ndarray, ask: Callable[[np.ndarray], Any]) -> dict[str, float]:
    """Milliseconds; the first query, which brings pages into memory, is told apart."""
    wall, cpu = [], []
    for query in queries:
        began, spent = time.perf_counter(), time.process_time()
        ask(query)
        wall.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - spent))
    later = {"median": np.median(wall[1:]), "p95": np.percentile(wall[1:], 95), "fastest": min(wall), "cpu_median": np.median(cpu[1:])}
    return {name: round(float(value), 2) for name, value in {"first": wall[0], **later}.items()}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:])
