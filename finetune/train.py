"""Fine-tuning on the challenge, read top to bottom: set-up, data, model, engine, restore, loop, test.

OUT/config.yaml (resolved), OUT/metrics.jsonl (a line per logged step, with the validation scores where there was one), OUT/checkpoint/
(`latest` to continue from, `best` by validation), OUT/summary.json (last; scores of the best checkpoint on validation and, once, on test).
Running again continues from the newest checkpoint; a finished training is left as it is.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.best import best_folder, best_metadata, save_best
from finetune.config import FinetuneConfig
from finetune.data import Batch, TrainingLines, train_batches
from finetune.datasets.challenge import gold_path
from finetune.datasets.retrieval_split import RetrievalSplit, read_test, read_val
from finetune.evaluate import PROTOCOL, Protocol, measure, rank_split
from finetune.initialize import start_model
from finetune.objective import FinetuneStep, term_weights
from pipeline.config import to_yaml
from pipeline.contracts.challenge import BITS_21
from pipeline.fileio import digest, read_json, write_bytes
from pipeline.signals import Stopped, StopRequest
from pretrain import checkpoint, loop
from pretrain.chance import Chance
from pretrain.distributed import barrier, rank, world_size
from pretrain.engine import build_engine, pick_device, start_process_group
from pretrain.loop import Progress, Saver
from pretrain.masking import Masker
from pretrain.metrics_log import MetricsLog, write_summary
from pretrain.models.aptm import APTM
from pretrain.objective import Texts, weighted_total
from pretrain.optim import lr_factor, parameter_groups
from pretrain.tokenizer import CaptionTokenizer

log = logging.getLogger("finetune")
REPORTS = 10  # progress lines per training


def train(config: FinetuneConfig, stop: StopRequest) -> dict[str, Any]:
    """Train to the end and return the summary. Raises Stopped after a checkpoint when asked to leave, StageError on a non-finite loss."""
    # set-up
    out, device = Path(config.out), pick_device(config.engine.device)
    root = out / "checkpoint"
    start_process_group(config.engine, device)

    # data
    folder = Path(config.data.folder)
    lines, val = TrainingLines.read(folder), read_val(folder)
    test = read_test(folder) if gold_path(folder).is_file() else None
    num_steps = config.train.num_steps(len(lines.records))

    # model and engine; weights come from this run's newest checkpoint, else from init.checkpoint, else at random
    start = start_model(config)
    model, tokenizer = start.model, start.tokenizer
    identity = digest([config.training_digest(), lines.digest, start.weights, num_steps])
    newest = loop.newest(root, identity)
    if loop.is_finished(newest, num_steps) and (out / "summary.json").is_file():
        log.info("%s is a finished training of this config; nothing to do", out)
        return read_json(out / "summary.json")
    weights = term_weights(config.objective)
    module = FinetuneStep(model, config.objective, config.engine.precision)
    engine = build_engine(module, parameter_groups(model, model.config, config.optim), config.optim, config.engine, device)
    progress = loop.restore(newest, model, engine) if newest else Progress()
    log.info("%s; %d lines, %d steps from step %d", start.source, len(lines.records), num_steps, progress.step)

    # loop
    batches = train_batches(
        lines, config, model.config.vision, tokenizer.vocab_file, progress.step, num_steps - progress.step, rank(), world_size()
    )
    texts = _StepTexts(Masker(tokenizer, config.text.masking), Chance(config.seed, rank(), device), _prompts(config, tokenizer))
    extra = {"seed": config.seed, PROTOCOL: Protocol.of(config).to_json()}
    keep = config.train.keep
    saver = Saver(root=root, model=model, tokenizer=tokenizer, engine=engine, identity=identity, keep=keep, extra=extra)
    judge = _Judge(config, root, val, tokenizer, num_steps)
    if rank() == 0:
        write_bytes(out / "config.yaml", to_yaml(config).encode())
    metrics = MetricsLog(out / "metrics.jsonl", progress.step) if rank() == 0 else None
    began = time.monotonic() - progress.seconds
    for step in range(progress.step, num_steps):
        started = time.monotonic()
        batch, prompts = texts.next(batches, step)
        draws = texts.chance.start(step)
        terms = engine(batch.to(device), prompts and prompts.to(device), draws)
        total = weighted_total(terms, weights)
        values, leaving = loop.agree(terms, total, step, stop)
        factor = lr_factor(step, num_steps, config.optim.warmup, config.optim.schedule)
        engine.backward(total)
        engine.step(factor)

        seconds = time.monotonic() - started
        scores = judge.validate(model, step + 1)
        progress = Progress(step + 1, progress.position + config.train.global_batch, time.monotonic() - began)
        if metrics and (scores or progress.step % config.train.log_every == 0):
            line = {f"train/{name}": value for name, value in values.items()} | {f"val/{name}": value for name, value in scores.items()}
            speed = {"images_per_s": config.train.global_batch / seconds, "seconds": progress.seconds}
            metrics.write({"step": progress.step, "num_steps": num_steps, "lr": config.optim.lr * factor, **line, **speed})
        if progress.step % max(1, num_steps // REPORTS) == 0:
            log.info("%s", progress.text(num_steps, values))
        if leaving or progress.step % config.train.save_every == 0 or progress.step == num_steps:
            saver.save(progress)
        if leaving and progress.step < num_steps:
            raise Stopped(f"stopped at step {progress.step} of {num_steps}; its checkpoint is in {root}, run again to continue")

    # test, once
    if not metrics:
        return {}
    metrics.close()
    facts = {
        "steps": num_steps,
        "train_lines": len(lines.records),
        "seed": config.seed,
        "init": "checkpoint" if config.init.checkpoint else "scratch",
        "weights": start.weights,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(progress.seconds, 2),
        "device": str(device),
        "world_size": world_size(),
    }
    return write_summary(out, tuple(weights), {**facts, **_final_scores(config, root, model, tokenizer, test)})


@dataclass(frozen=True, slots=True)
class _StepTexts:
    """Adds the masks of a step to its captions and to the attribute prompts, where these are wanted."""

    masker: Masker
    chance: Chance
    prompts: Texts | None

    def next(self, batches: Iterator[Batch], step: int) -> tuple[Batch, Texts | None]:
        batch = next(batches)
        texts = self.chance.masked(self.masker, batch.texts, step, "captions")
        prompts = self.prompts and self.chance.masked(self.masker, self.prompts, step, "prompts")
        return Batch(batch.image, texts, batch.second, batch.identities, batch.labels), prompts


@dataclass(frozen=True, slots=True)
class _Judge:
    """Validates now and then, on the first rank, and keeps the best model."""

    config: FinetuneConfig
    root: Path
    val: RetrievalSplit
    tokenizer: CaptionTokenizer
    num_steps: int

    def validate(self, model: APTM, step: int) -> dict[str, float]:
        """Scores over all queries if it is time, else nothing. A tie keeps the earlier checkpoint."""
        if step not in {round(self.num_steps * (i + 1) / self.config.eval.times) for i in range(self.config.eval.times)}:
            return {}
        scores: dict[str, float] = {}
        if rank() == 0:
            protocol = Protocol.of(self.config)
            measured = measure(self.val, rank_split(model, self.tokenizer, self.val, protocol))
            scores, best = measured["all"], best_metadata(self.root)
            if best is None or scores[self.config.eval.select] > best["val"]["all"][self.config.eval.select]:
                save_best(self.root, step, model, self.tokenizer, {"val": measured, PROTOCOL: protocol.to_json()})
            model.train()
            log.info("step %d/%d, validation recall@1 %.3f, mAP %.3f", step, self.num_steps, scores["recall@1"], scores["map"])
        barrier()
        return scores


def _prompts(config: FinetuneConfig, tokenizer: CaptionTokenizer) -> Texts | None:
    return Texts(*tokenizer(BITS_21.prompts, None)) if config.objective.attribute_weight else None


def _final_scores(
    config: FinetuneConfig, root: Path, model: APTM, tokenizer: CaptionTokenizer, test: RetrievalSplit | None
) -> dict[str, Any]:
    """Validation scores of the best checkpoint, and its scores on test, the only ones that are ever taken there."""
    best, chosen = best_folder(root), best_metadata(root)
    assert best is not None, "there is a validation after the last step"
    assert chosen is not None
    checkpoint.load_weights(model, best)
    scores = None if test is None else measure(test, rank_split(model, tokenizer, test, Protocol.of(config)))
    return {"best_step": chosen["step"], "val": chosen["val"], "test": scores}
