"""Fine-tuning, read top to bottom: set-up, data, method, engine, restore, loop, test. The same loop for every recipe.

OUT/config.yaml (resolved), OUT/metrics.jsonl (a line per logged step, with the validation scores where there was one), OUT/checkpoint/
(`latest` to continue from, `best` by validation), OUT/summary.json (last; scores of the best checkpoint on validation and, once, on test).
Running again continues from the newest checkpoint; a finished training is left as it is, unless its best checkpoint is lost: it then
chooses anew.
"""

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

from finetune.best import best_folder, best_metadata, check_best
from finetune.config import FinetuneConfig
from finetune.data import check_captions
from finetune.datasets import own
from finetune.datasets.lines import TrainingLines
from finetune.judge import Judge
from finetune.methods.base import Method
from finetune.methods.start import start_method
from finetune.protocol import checkpoint_facts, seen_in_validation, start_of
from finetune.recipes import Recipe
from finetune.tasks import RetrievalTask, Task, test_task, validation_task
from pipeline.config import to_yaml
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import digest, read_json, write_bytes
from pipeline.signals import Stopped, StopRequest
from pretrain import loop
from pretrain.distributed import barrier, rank, world_size
from pretrain.engine import build_engine, pick_device, start_process_group
from pretrain.loop import Progress, Saver, WayOut
from pretrain.metrics_log import MetricsLog, write_summary
from pretrain.objective import weighted_total

log = logging.getLogger("finetune")
REPORTS = 10  # progress lines per training


def train(config: Recipe, stop: StopRequest) -> dict[str, Any]:
    """Train to the end and return the summary. Raises Stopped after a checkpoint when asked to leave, StageError on a non-finite loss."""
    # set-up
    out, device = Path(config.out), pick_device(config.engine.device)
    root = out / "checkpoint"
    start_process_group(config.engine, device)

    # data
    lines = TrainingLines.read(Path(config.data.folder), config.data, hold_out=not config.eval.paper_protocol)
    test = test_task(config.data)
    val = _selection(config, test)
    _check_captions(config, lines, val, test)
    num_steps = config.train.num_steps(len(lines.records))

    # method and engine; weights come from this run's newest checkpoint, else from init, else at random
    method = start_method(config, lines, device)
    identity = digest([config.training_tree(), lines.digest, method.weights, num_steps, *method.files])
    newest = loop.newest(root, identity, config)
    check_best(root, identity)
    if newest is None:
        _warn_of_seen(config)
    own.forget()
    if loop.is_finished(newest, num_steps) and best_folder(root) and (out / "summary.json").is_file():
        log.info("%s is a finished training of this config; nothing to do", out)
        return read_json(out / "summary.json") if rank() == 0 else {}
    weights, extra = method.term_weights(), checkpoint_facts(config, lines, newest)
    engine = build_engine(method.step, method.groups(), config.optim, config.engine, device)
    progress = loop.restore(newest, engine, method.load_state) if newest else Progress()
    log.info("%s; %d lines, %d steps from step %d", method.source, len(lines.records), num_steps, progress.step)

    # loop
    batches = method.batches(progress.step, num_steps - progress.step, rank(), world_size())
    saver = Saver(root=root, save_model=partial(_save, method), engine=engine, identity=identity, keep=config.train.keep, extra=extra)
    judge = Judge(config=config, root=root, identity=identity, extra=extra, task=val, method=method, num_steps=num_steps)
    if rank() == 0:
        write_bytes(out / "config.yaml", to_yaml(config).encode())
    metrics = MetricsLog(out / "metrics.jsonl", progress.step) if rank() == 0 else None
    way_out, began = WayOut(root, config), time.monotonic() - progress.seconds
    if newest and judge.is_due(progress.step) and loop.owes_scores(metrics, progress.step, lost=best_folder(root) is None):
        judge.validate(progress.step, metrics)
    for step in range(progress.step, num_steps):
        started = time.monotonic()
        batch = next(batches)
        terms = engine(*method.arguments(batch, step))
        total = weighted_total(terms, weights)
        engine.backward(total)
        terms["gradient_norm"] = engine.gradient_norm()
        values, leaving = loop.agree(terms, total, step, stop, batch.keys, loop.absent_terms(batch.labels), way_out)
        engine.step(factor := method.lr_factor(step, num_steps))
        method.after_step()

        seconds = time.monotonic() - started
        progress = Progress(step + 1, progress.position + config.train.global_batch, time.monotonic() - began)
        is_last, is_due = progress.step == num_steps, judge.is_due(progress.step)
        if metrics and (is_due or progress.step % config.train.log_every == 0):
            line = {f"train/{name}": value for name, value in values.items()}
            speed = {"images_per_s": config.train.global_batch / seconds, "seconds": progress.seconds}
            metrics.write({"step": progress.step, "num_steps": num_steps, "lr": config.optim.lr * factor, **line, **speed})
        if progress.step % max(1, num_steps // REPORTS) == 0:
            log.info("%s", progress.text(num_steps, values))
        if leaving or is_due or is_last or progress.step % config.train.save_every == 0:
            saver.save(progress)
        if leaving and (is_due or not is_last):  # a validation may take longer than the notice that a scheduler gives: it is made up later
            raise Stopped(f"stopped at step {progress.step} of {num_steps}; its checkpoint is in {root}, run again to continue")
        if is_due:
            judge.validate(progress.step, metrics)

    # test, once
    if not metrics:
        barrier()  # srun may end a job whose first rank is left alone
        return {}
    metrics.close()
    summary = {
        "steps": num_steps,
        "data_set": config.data.name,
        "train_lines": len(lines.records),
        "init": "random" if method.weights == "random" else "checkpoint",
        "weights": method.weights,
        "seed": config.seed,
        "seconds": round(progress.seconds, 3),
        "device": str(device),
        "world_size": world_size(),
        "method": config.method,
        "protocol": config.eval.selection,
    }
    summary = write_summary(out, tuple(weights), {**summary, **_final_scores(config, root, method, test)})
    barrier()
    return summary


def _selection(config: Recipe, test: Task | None) -> Task:
    if not config.eval.paper_protocol:
        return validation_task(config.data)
    if test is None:
        raise ConfigError("eval.paper_protocol=true chooses on the test split, and its answers are not known (no test_gt.txt)")
    return test


def _warn_of_seen(config: Recipe) -> None:
    """Of identities held out for validation that the weights to start from were trained on."""
    start = None if config.eval.paper_protocol else start_of(config)
    if start and (reason := seen_in_validation(start, config.data)) and rank() == 0:
        log.warning("init: %s; scores on validation will be too good", reason)


def _check_captions(config: Recipe, lines: TrainingLines, *tasks: Task | None) -> None:
    """Of every split; only APTM's texts can lose all their words."""
    if not isinstance(config, FinetuneConfig) or not config.text.clean:
        return
    check_captions(((line.key, line.text) for line in lines.records if line.text), config.text, lines.source)
    for task in tasks:
        if isinstance(task, RetrievalTask):
            queries = ((f"query {number}", text) for number, text in enumerate(task.split.queries, start=1))
            check_captions(queries, config.text, task.split.folder)


def _save(method: Method, folder: Path, facts: dict[str, Any]) -> None:
    method.save_state(folder)
    method.save(folder, facts)


def _final_scores(config: Recipe, root: Path, method: Method, test: Task | None) -> dict[str, Any]:
    """Validation scores of the best checkpoint, and its scores on test, the only ones that are ever taken there."""
    best, chosen = best_folder(root), best_metadata(root)
    assert best is not None, "there is a validation after the last step"
    assert chosen is not None
    method.load_weights(best)
    scores = None if test is None else test.run(method.searcher, config.eval)
    return {"best_step": chosen["step"], "val": chosen["val"], "test": scores}
