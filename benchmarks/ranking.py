"""Ranking N texts against N pictures in blocks: seconds and peak memory, with random features. No model runs.

  python benchmarks/ranking.py [--size 100000] [--dim 256] [--shortlist 128] [--positives 4]

Measures shortlists, then recall@k, mAP and mINP of the fused scores and of the cosines alone. Match logits are random: their cost is the
model's. Every picture belongs to one of N / positives persons. The whole matrix would take 4 N^2 bytes, twice.
"""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from machine import peak_mb

from pretrain.retrieval.blocked import BLOCK, Ranking, shortlists
from pretrain.retrieval.metrics import positives_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--shortlist", type=int, default=128)
    parser.add_argument("--positives", type=int, default=4)
    options = parser.parse_args()
    size = options.size
    generator = torch.Generator().manual_seed(0)
    texts, images = (F.normalize(torch.randn(size, options.dim, generator=generator), dim=1) for _ in range(2))
    ids = np.arange(size) % max(1, size // options.positives)
    before = peak_mb()
    began, cpu = time.perf_counter(), time.process_time()
    found = shortlists(texts, images, options.shortlist)
    halfway = time.perf_counter()
    logits = torch.randn(found.top.shape, generator=generator)
    fused, plain = Ranking(texts, images, found, logits).metrics(positives_of(ids, ids))
    ended = time.perf_counter()
    print(f"{size} x {size}, dim {options.dim}, shortlist {options.shortlist}, {options.positives} positives, blocks of {BLOCK} texts")
    print(f"shortlists {halfway - began:.1f} s, metrics {ended - halfway:.1f} s, CPU {time.process_time() - cpu:.1f} s")
    print(f"peak of the process {peak_mb():.0f} MB, before ranking {before:.0f} MB; one whole matrix {4 * size * size / 2**20:.0f} MB")
    print(f"{torch.get_num_threads()} threads; mAP of chance {plain['map']:.2e}, fused {fused['map']:.2e}")


if __name__ == "__main__":
    main()
