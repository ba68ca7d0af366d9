"""How long does a query over a million embeddings take? python benchmarks/search.py [COUNT] [DIM]

Random directions around 2,000 centres stand in for pictures. Reports milliseconds per query and the share of the true ten nearest found.
"""

import json
import sys
import time

import numpy as np

from finetune.search.index import make_faiss


def main(count: int = 1_000_000, dim: int = 256, queries: int = 50) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2000, dim)).astype(np.float32)
    features = np.empty((count, dim), np.float32)
    for start in range(0, count, 50_000):
        rows = min(50_000, count - start)
        part = centres[rng.integers(0, len(centres), rows)] + 0.7 * rng.normal(size=(rows, dim)).astype(np.float32)
        features[start : start + rows] = part / np.linalg.norm(part, axis=1, keepdims=True)
    began = time.perf_counter()
    index = make_faiss(features)
    built = time.perf_counter() - began
    asked = features[rng.choice(count, queries, replace=False)]
    milliseconds, found = [], []
    for query in asked:
        began = time.perf_counter()
        found.append(index.search(query[None], 128)[1][0])
        milliseconds.append(1000 * (time.perf_counter() - began))
    hits = []
    for query, rows in zip(asked, found, strict=True):
        exact = np.argpartition(-(features @ query), 10)[:10]
        hits.append(len(set(exact) & set(rows)) / 10)
    answer = {
        "count": count,
        "dim": dim,
        "build_s": round(built, 1),
        "median_ms": round(float(np.median(milliseconds)), 2),
        "p95_ms": round(float(np.percentile(milliseconds, 95)), 2),
        "recall_of_10_in_128": round(float(np.mean(hits)), 3),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
