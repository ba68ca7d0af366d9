"""One pre-training step: the paper path against the fast path, same model, same captions, in turn, in one run.

  python benchmarks/pretrain_step.py                                     # small model, CPU, float32
  python benchmarks/pretrain_step.py --model configs/pretrain/mals_swinb_bert.yaml --device cuda --batch 150    # GPU, Swin-B and BERT

The fast path runs in float32 and in bfloat16.

A step is everything after loading: prompts (tokenised by the paper path), masks, forward, backward, AdamW. Captions have 20 to 34 words, as
in MALS. Prints machine, versions, median seconds (on a CPU of the process's own CPU time, so that waiting for others does not count),
images/s, MFU and peak memory. MFU: operations of the fast path (forward counted by torch, backward twice that; 237 GFLOP per image for
Swin-B and BERT-base at 384x128) over the matrix-multiplication rate that this run measures, or --peak-tflops.
"""

import argparse
import ctypes
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.paper_path import OneByOne, paper_terms, paper_texts
from pipeline.config import load
from pipeline.contracts.attributes import PERSON_27
from pretrain.chance import Chance
from pretrain.config import PretrainConfig
from pretrain.data import Batch
from pretrain.masking import Masker
from pretrain.models.aptm import APTM
from pretrain.objective import Texts, pretrain_weights, weighted_total
from pretrain.optim import build_optimizer, parameter_groups
from pretrain.step import PretrainStep
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer

ROOT = Path(__file__).parents[1]


class Bench:
    """Both paths on one model and one batch."""

    def __init__(self, config: PretrainConfig, batch: int, device: torch.device) -> None:
        self.config, self.device, self.rng = config, device, Random(0)
        self.tokenizer = CaptionTokenizer(EMBEDDED_VOCAB)
        torch.manual_seed(0)
        self.model = APTM(config.model.with_vocab(config.model.text.vocab_size or len(self.tokenizer))).to(device).train()
        self.masker = Masker(self.tokenizer, config.text.masking)
        self.captions = [_caption(self.rng) for _ in range(batch)]
        vision = config.model.vision
        self.image = torch.randn(batch, 3, vision.height, vision.width, device=device)
        self.labels = torch.randint(-1, 2, (batch, len(PERSON_27)), device=device)
        self.persons = torch.arange(batch, device=device)
        self.prompts = Texts(*self.tokenizer(PERSON_27.prompts, None)).to(device)
        groups = parameter_groups(self.model, self.model.config, config.optim)
        self.fused = build_optimizer(groups, config.optim)
        self.plain = torch.optim.AdamW(groups, lr=config.optim.lr, betas=config.optim.betas, eps=config.optim.eps)
        self.steps = {name: PretrainStep(self.model, config.objective, name) for name in ("float32", "bfloat16")}
        self.chance = Chance(0, 0, device)

    def paper(self) -> None:
        texts = paper_texts(self.tokenizer, self.masker, self.captions, self.config.text.max_tokens, self.rng).to(self.device)
        prompts = paper_texts(self.tokenizer, self.masker, PERSON_27.prompts, None, self.rng).to(self.device)
        objective = self.config.objective
        terms = paper_terms(self.model, self.image, texts, self.persons, self.labels, prompts, OneByOne(), objective)
        self._learn(weighted_total(terms, pretrain_weights(objective)), self.plain)

    def fast(self, precision: str = "float32") -> None:
        texts = Texts(*self.tokenizer(self.captions, self.config.text.max_tokens)).to(self.device)
        texts = self.chance.masked(self.masker, texts, 0, "captions")
        prompts = self.chance.masked(self.masker, self.prompts, 0, "prompts")
        batch = Batch(self.image, texts, self.persons, self.labels)
        terms = self.steps[precision](batch, prompts, self.chance.start(0))
        self._learn(weighted_total(terms, pretrain_weights(self.config.objective)), self.fused)

    def flops_per_image(self) -> float:
        if self.config.model.vision.embed_dim == 128 and self.config.model.vision.height == 384:
            return 237e9
        texts = self.chance.masked(self.masker, Texts(*self.tokenizer(self.captions, None)).to(self.device), 0, "captions")
        prompts = self.chance.masked(self.masker, self.prompts, 0, "prompts")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.steps["float32"](Batch(self.image, texts, self.persons, self.labels), prompts, self.chance.start(0))
        return 3 * counter.get_total_flops() / len(self.image)

    def _learn(self, total: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        total.backward()
        optimizer.step()
        optimizer.zero_grad()


def _caption(rng: Random) -> str:
    """20 to 34 words about a person."""
    words = " ".join(rng.sample(PERSON_27.prompts, 6)).split()
    return " ".join(words[: rng.randint(20, 34)])


def seconds(work: Callable[[], None], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_mb(work: Callable[[], None], device: torch.device) -> float:
    """Of the device; on a CPU of the whole process, from Linux, which can forget the peak so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / 2**20
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        forget.write_text("5")
        work()
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large square product."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / min(seconds(lambda: a @ b, device) for _ in range(5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "configs" / "pretrain" / "embedded.yaml", help="Recipe whose model counts.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peak-tflops", type=float, help="Peak rate for MFU; default: as measured by a large product.")
    parser.add_argument("--profile", action="store_true", help="Also print the ten costliest operations of the fast path.")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(1 if device.type == "cpu" else torch.get_num_threads())
    bench = Bench(load(PretrainConfig, options.model, ["data.shards=none"]), options.batch, device)
    paths: dict[str, tuple[Callable[[], None], torch.dtype]] = {
        "paper float32": (bench.paper, torch.float32),
        "fast float32": (bench.fast, torch.float32),
        "fast bfloat16": (lambda: bench.fast("bfloat16"), torch.bfloat16),
    }
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU, 1 thread"
    print(f"{name}; torch {torch.__version__}; Python {platform.python_version()}; batch {options.batch}; {options.model.name}")
    work = bench.flops_per_image()
    times: dict[str, list[float]] = {path: [] for path in paths}
    for repeat in range(options.repeats + 1):
        for path, (step, _) in paths.items():
            taken = seconds(step, device)
            if repeat:  # the first warms up
                times[path].append(taken)
    rows = {}
    for path, (step, dtype) in paths.items():
        middle, peak = statistics.median(times[path]), options.peak_tflops
        rate = peak * 1e12 if peak else matmul_flops(device, dtype)
        speed = options.batch / middle
        rows[path] = {
            "seconds": round(middle, 4),
            "fastest": round(min(times[path]), 4),
            "images_per_s": round(speed, 2),
            "mfu": round(work * speed / rate, 3),
            "peak_mb": round(peak_mb(step, device)),
            "speedup": round(statistics.median(times["paper float32"]) / middle, 2),
        }
        print(f"{path:14} {json.dumps(rows[path])}", flush=True)
    print(f"{work / 1e9:.2f} GFLOP per image")
    if options.profile:
        with torch.profiler.profile() as profile:
            bench.fast()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=10, max_name_column_width=40))


if __name__ == "__main__":
    main()
