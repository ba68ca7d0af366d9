"""One pre-training step: the paper path against the fast path, same model, same captions, in turn, in one run.

  python benchmarks/pretrain_step.py                                     # small model, CPU
  python benchmarks/pretrain_step.py --model configs/pretrain/mals_swinb_bert.yaml --device cuda --batch 150 --add compiled --workers 14
                                                                         # GPU, Swin-B and BERT

Paths: "paper float32", "fast float32", "fast bfloat16"; --add also "compiled" (engine.compile) and "checkpointing"
(engine.gradient_checkpointing: all), in the precision of the device: bfloat16 on a GPU, float32 on a CPU.

A step is everything after loading: prompts (tokenised by the paper path), masks, forward, backward, AdamW. Captions have 20 to 34 words, as
in MALS. Prints machine, versions, median seconds (on a CPU of the process's own CPU time, so that waiting for others does not count),
images/s, MFU and peak memory. mfu counts the operations that the path does (pretrain/flops.py), mfu_as_published those of the research code
for the same step (237 GFLOP an image for Swin-B and BERT-base at 384x128), both over the device's peak as its maker states it, or on a CPU
as a large product measures it, or --peak-tflops.
hours: what a training of 32 epochs of MALS's 1.51 M pairs takes at this rate on 8 and on 64 such devices, if each keeps the rate of one.
--workers N: then a real training of --repeats steps on shards of JPEGs, N loader processes; prints its images/s and share of data wait.
"""

import argparse
import ctypes
import json
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from loader import write_shards
from paper_path import OneByOne, paper_terms, paper_texts

from pipeline.config import load
from pipeline.contracts.attributes import PERSON_27
from pipeline.signals import StopRequest
from pretrain.chance import Chance
from pretrain.config import PretrainConfig
from pretrain.data import Batch
from pretrain.flops import StepSize, device_peak, published_flops, step_flops
from pretrain.masking import Masker
from pretrain.metrics_log import read_lines
from pretrain.models.aptm import APTM
from pretrain.models.regions import prepare_regions
from pretrain.objective import Texts, pretrain_weights, weighted_total
from pretrain.optim import build_optimizer, parameter_groups
from pretrain.settings import EngineConfig
from pretrain.step import PretrainStep
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
from pretrain.train import train

ROOT = Path(__file__).parents[1]
MALS_PAIRS, EPOCHS = 1.51e6, 32  # the published pre-training

PLAIN = EngineConfig()
ADDED = {"compiled": EngineConfig(compile=True), "checkpointing": EngineConfig(gradient_checkpointing="all")}


class Bench:
    """Both paths on one model and one batch; `engine` says how the fast path trains its regions."""

    def __init__(self, config: PretrainConfig, batch: int, device: torch.device, engine: EngineConfig = PLAIN) -> None:
        self.config, self.device, self.rng = config, device, Random(0)
        self.tokenizer = CaptionTokenizer(EMBEDDED_VOCAB)
        torch.manual_seed(0)
        self.model = APTM(config.model.with_vocab(config.model.text.vocab_size or len(self.tokenizer))).to(device).train()
        self.masker = Masker(self.tokenizer, config.text.masking)
        prepare_regions(self.model, engine)
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

    def size(self, published: bool) -> StepSize:
        """Of a step; captions as long as the longest here and the slots that masks can need, or both always at their most."""
        text, longest = self.config.text, self.tokenizer(self.captions, self.config.text.max_tokens)[0].shape[1]
        prompt_tokens, most = self.prompts.ids.shape[1], text.masking.max_masks
        return StepSize(
            batch=len(self.captions),
            caption_tokens=text.max_tokens if published else longest,
            prompts=len(PERSON_27.prompts),
            prompt_tokens=prompt_tokens,
            matching_prompts=self.config.objective.num_matching_prompts,
            caption_masks=most if published else self.masker.slots(longest),
            prompt_masks=most if published else self.masker.slots(prompt_tokens),
        )

    def _learn(self, total: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        total.backward()
        optimizer.step()
        optimizer.zero_grad()


def _caption(rng: Random) -> str:
    """20 to 34 words about a person."""
    words = " ".join(rng.sample(PERSON_27.prompts, 6)).split()
    return " ".join(words[: rng.randint(20, 34)])


def seconds(work: Callable[[], object], device: torch.device) -> float:
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


def matmul_flops(device: torch.device, precision: str) -> float:
    """Operations per second of a large square product."""
    dtype = getattr(torch, precision)
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / min(seconds(lambda: a @ b, device) for _ in range(5))


def measure(paths: dict[str, Callable[[], None]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each path, in turn; the first round warms up."""
    times: dict[str, list[float]] = {path: [] for path in paths}
    for repeat in range(repeats + 1):
        for path, step in paths.items():
            taken = seconds(step, device)
            if repeat:
                times[path].append(taken)
    return times


def train_from_shards(model: Path, batch: int, steps: int, workers: int, device: torch.device, precision: str) -> dict[str, float]:
    """Medians of what a training of so many steps, after two more, writes into its metrics.jsonl."""
    rng = Random(0)
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder, "shards"), 2 * batch, lambda: _caption(rng))
        settings = {
            "out": Path(folder, "out"), "data.shards": Path(folder, "shards"), "data.workers": workers, "text.vocab": "embedded",
            "model.text.vocab_size": "null", "train.global_batch": batch, "train.steps": steps + 2, "train.log_every": 1,
            "train.validate_every": 0, "engine.kind": "torch", "engine.device": device.type, "engine.precision": precision,
            "init.swin": "null", "init.bert": "null",
        }  # fmt: skip
        train(load(PretrainConfig, model, [f"{name}={value}" for name, value in settings.items()]), StopRequest())
        lines = read_lines(Path(folder, "out", "metrics.jsonl"))[2:]
    known = ("images_per_s", "data_wait", "mfu")
    return {name: round(statistics.median(line[name] for line in lines), 3) for name in known if lines[0][name] is not None}


def main() -> None:
    options = _options()
    device = torch.device(options.device)
    torch.set_num_threads(1 if device.type == "cpu" else torch.get_num_threads())
    config = load(PretrainConfig, options.model, ["data.shards=none"])
    bench, own = Bench(config, options.batch, device), "bfloat16" if device.type == "cuda" else "float32"
    every: dict[str, tuple[Callable[[], None], str]] = {
        "paper float32": (bench.paper, "float32"),
        "fast float32": (bench.fast, "float32"),
        "fast bfloat16": (lambda: bench.fast("bfloat16"), "bfloat16"),
    }
    for name in options.add:
        added = Bench(config, options.batch, device, ADDED[name])
        every[f"{name} {own}"] = (lambda added=added: added.fast(own), own)  # type: ignore[misc]
    paths = {name: step for name, (step, _) in every.items() if name not in options.leave_out}
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU, 1 thread"
    print(f"{name}; torch {torch.__version__}; Python {platform.python_version()}; batch {options.batch}; {options.model.name}")
    published, done = published_flops(bench.model.config, bench.size(True)), step_flops(bench.model.config, bench.size(False))
    print(f"GFLOP an image: {published / options.batch / 1e9:.2f} as published, {done / options.batch / 1e9:.2f} on the fast path")
    times = measure(paths, options.repeats, device)
    slowest = times.get("paper float32")
    for path, step in paths.items():
        middle, precision = statistics.median(times[path]), every[path][1]
        rate = options.peak_tflops * 1e12 if options.peak_tflops else device_peak(name, precision) or matmul_flops(device, precision)
        row = {
            "seconds": round(middle, 4),
            "fastest": round(min(times[path]), 4),
            "images_per_s": round(options.batch / middle, 2),
            "mfu": round((published if path.startswith("paper") else done) / middle / rate, 3),
            "mfu_as_published": round(published / middle / rate, 3),
            "peak_mb": round(peak_mb(step, device)),
            "hours": {count: round(MALS_PAIRS * EPOCHS * middle / options.batch / count / 3600, 2) for count in (8, 64)},
        }
        if slowest:
            row |= {
                "speedup": round(statistics.median(slowest) / middle, 2),
                "speedup_of_fastest": round(min(slowest) / min(times[path]), 2),
            }
        print(f"{path:24} {json.dumps(row)}", flush=True)
    if options.profile:
        with torch.profiler.profile() as profile:
            bench.fast(own)
        by = f"self_{'device' if device.type == 'cuda' else 'cpu'}_time_total"
        print(profile.key_averages().table(sort_by=by, row_limit=10, max_name_column_width=55))
    if options.workers is not None:
        del bench, every, paths
        print(
            "training from shards",
            json.dumps(train_from_shards(options.model, options.batch, options.repeats, options.workers, device, own)),
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "configs" / "pretrain" / "demo.yaml", help="Recipe whose model counts.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--add", nargs="*", default=[], choices=ADDED, help="Further paths.")
    parser.add_argument("--leave-out", nargs="*", default=[], help="Paths not to run, by name.")
    parser.add_argument("--peak-tflops", type=float, help="Peak rate for MFU; default: the maker's, or of a large product.")
    parser.add_argument("--profile", action="store_true", help="Also print the ten costliest operations of the fast path.")
    parser.add_argument("--workers", type=int, help="Also train from shards with so many loader processes.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
