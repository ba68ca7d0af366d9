"""Pre-training, read top to bottom: set-up, data, model, engine, restore, loop. Also what a run writes into its folder.

OUT/config.yaml (resolved), OUT/environment.json (machine and versions), OUT/deepspeed.json (what DeepSpeed was told), OUT/metrics.jsonl (a
line per logged step), OUT/checkpoint/ (its own module), OUT/summary.json (last).
Running again continues from the newest checkpoint; a finished training is left as it is.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config import to_yaml
from pipeline.contracts.errors import ConfigError
from pipeline.environment import describe_machine, library_versions
from pipeline.fileio import digest, read_json, write_bytes, write_json
from pipeline.signals import Stopped, StopRequest
from pipeline.version import code_version
from pretrain import checkpoint, loop
from pretrain.chance import Chance
from pretrain.config import PretrainConfig
from pretrain.data import Batch, train_batches
from pretrain.distributed import check_group_size, rank, world_size
from pretrain.engine import build_engine, deepspeed_config, pick_device, start_process_group
from pretrain.flops import StepSize, device_peak, model_flops_utilisation
from pretrain.history import handed_on
from pretrain.initialize import initialise
from pretrain.labelling import labelling
from pretrain.loop import Progress, Saver, WayOut
from pretrain.masking import Masker
from pretrain.metrics_log import MetricsLog, write_summary
from pretrain.mixture import open_samples
from pretrain.models.aptm import APTM
from pretrain.objective import Texts, pretrain_weights, weighted_total
from pretrain.optim import lr_factor, parameter_groups
from pretrain.order import check_batch, check_shares
from pretrain.settings import OptimConfig
from pretrain.step import PretrainStep
from pretrain.tensorboard_log import require_tensorboard
from pretrain.tokenizer import CaptionTokenizer, resolve_vocab
from pretrain.watch import SpikeGuard, Validation, open_held_out

TERMS = ("itc", "itm", "mlm", "iac", "iam", "mam")
REPORTS = 20  # progress lines per training
log = logging.getLogger("pretrain")


def train(config: PretrainConfig, stop: StopRequest) -> dict[str, Any]:
    """Train to the end and return the summary. Raises Stopped after a checkpoint when asked to leave, StageError on a non-finite loss."""
    # set-up
    if config.train.tensorboard:
        require_tensorboard()
    out, device = Path(config.out), pick_device(config.engine.device)
    start_process_group(config.engine, device)

    # data
    reader = open_samples(config.data.shards, config.data.train_split, config.data.attributes is not None)
    tokenizer = CaptionTokenizer(resolve_vocab(config.text.vocab))
    parts = config.train.accumulation
    check_batch(config.train.global_batch, world_size(), len(reader), parts)
    check_group_size(config.objective.itc_group_size)
    check_shares(config.train.global_batch, reader.sizes, reader.quotas, reader.folders)
    num_steps = config.train.num_steps(len(reader))
    labels = labelling(config.data.attributes, reader.attribute_space)
    identity = digest([config.training_tree(), tokenizer.pieces, reader.digest(), num_steps, *labels.own_facts()])
    newest = loop.newest(out / "checkpoint", identity, config)
    if loop.is_finished(newest, num_steps) and (out / "summary.json").is_file():
        log.info("%s is a finished training of this config; nothing to do", out)
        return read_json(out / "summary.json")
    held_out = open_held_out(config)
    masker = Masker(tokenizer, config.text.masking)
    prompts = Texts(*tokenizer(labels.space.prompts, None)).to(device)
    if (longest := prompts.ids.shape[1]) > (most := config.model.text.max_positions):
        raise ConfigError(f"data.attributes: a prompt has {longest} tokens, more than model.text.max_positions={most}; shorten it")

    # model and engine; weights come from this run's newest checkpoint, else from init, else at random
    model = build_model(config, tokenizer)
    if newest:
        checkpoint.check_vocabulary(newest, tokenizer)
    else:
        for source, report in initialise(model, tokenizer, config.init).items():
            log.info("weights from %s: %s", source, report.summary())
    module = PretrainStep(model, config.objective, config.engine.precision)
    engine = build_engine(module, parameter_groups(model, model.config, config.optim), config.optim, config.engine, device, parts)
    progress = loop.restore(newest, engine, partial(checkpoint.load_weights, model)) if newest else Progress()
    batches = train_batches(reader, config, tokenizer, progress.position, num_steps - progress.step, rank(), world_size())
    log.info("%s", _plan(config, model, len(reader), num_steps, progress))
    if rank() == 0 and config.optim.warmup >= num_steps:
        log.warning("optim.warmup=%g outlasts the %d steps: the learning rate stays below optim.lr", config.optim.warmup, num_steps)

    # loop
    root, keep, facts = out / "checkpoint", config.train.keep, {"seed": config.seed, "inputs": config.inputs()}
    starts = [Path(start) for start in (newest, config.init.checkpoint) if start]  # the former first: the latter may be gone, or changed
    facts |= next(filter(None, map(handed_on, starts)), {})
    saver = Saver(root=root, save_model=_writer(model, tokenizer), engine=engine, identity=identity, keep=keep, extra=facts)
    if rank() == 0:
        write_bytes(out / "config.yaml", to_yaml(config).encode())
        write_json(out / "environment.json", environment(device))
        if config.engine.kind == "deepspeed":
            write_json(out / "deepspeed.json", deepspeed_config(config.optim, config.engine, parts))
    metrics = MetricsLog(out / "metrics.jsonl", progress.step, config.train.tensorboard) if rank() == 0 else None
    weights = pretrain_weights(config.objective)
    peak = device_peak(torch.cuda.get_device_name(device), config.engine.precision) if device.type == "cuda" else None
    chance = Chance(config.seed, rank(), device)
    way_out = WayOut(root, config)
    recent = checkpoint.read_facts(newest)["recent_totals"] if newest else ()
    spikes = SpikeGuard(config.train.spike_factor, way_out, recent)
    validation = Validation(config=config, held_out=held_out, model=model, tokenizer=tokenizer, num_steps=num_steps)
    began = time.monotonic() - progress.seconds
    if validation.is_due(progress.step) and loop.owes_scores(metrics, progress.step):
        _score(validation, metrics, progress.step)
    for step in range(progress.step, num_steps):
        started = time.monotonic()
        batch = next(batches)
        waited = time.monotonic() - started
        absent = loop.absent_terms(batch.labels)
        batch = batch.to(device)
        batch = replace(batch, texts=chance.masked(masker, batch.texts, step, "captions"))
        masked_prompts = chance.masked(masker, prompts, step, "prompts")
        module.begin()
        done = []
        for number, part in enumerate(batch.split(parts)):
            with engine.part(is_last=number + 1 == parts):
                terms = engine(part, masked_prompts, chance.start(step, number))
                terms["total"] = weighted_total(terms, weights)
                engine.backward(terms["total"])
            done.append(terms)
        means = _means(done)
        total = means.pop("total")
        means[loop.GRADIENT_NORM] = engine.gradient_norm()
        # the one place where the host waits: backward is on its way
        values, leaving = loop.agree(means, total, step, stop, batch.keys, absent, way_out)
        spikes.check(values["total"], step)
        factor = lr_factor(step, num_steps, config.optim.warmup, config.optim.schedule)
        engine.step(factor)

        seconds = time.monotonic() - started
        progress = Progress(step + 1, progress.position + config.train.global_batch, time.monotonic() - began)
        is_last, is_due = progress.step == num_steps, validation.is_due(progress.step)
        if metrics and (is_due or is_last or progress.step % config.train.log_every == 0):
            speed = {"images_per_s": config.train.global_batch / seconds, "data_wait": waited / seconds, "seconds": progress.seconds}
            mfu = model_flops_utilisation(model.config, _size(config, masker, batch, prompts), parts, seconds, peak)
            line = _line(config.optim, progress, num_steps, factor, {**values, "temperature": model.temp.item()})
            metrics.write({**line, **speed, "mfu": mfu})
        if progress.step % max(1, num_steps // REPORTS) == 0:
            log.info("%s", progress.text(num_steps, values))
        if leaving or is_due or is_last or progress.step % config.train.save_every == 0:
            saver.save(progress, {"recent_totals": spikes.recent})
        if leaving and (is_due or not is_last):  # a validation may take longer than the notice that a scheduler gives: it is made up later
            raise Stopped(f"stopped at step {progress.step} of {num_steps}; its checkpoint is in {saver.root}, run again to continue")
        if is_due:
            _score(validation, metrics, progress.step)

    if not metrics:
        return {}
    metrics.close()
    facts = {
        "steps": num_steps,
        "samples": progress.position,
        "train_samples": len(reader),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(progress.seconds, 2),
        "device": str(device),
        "world_size": world_size(),
    }
    return write_summary(out, TERMS, facts)


def _score(validation: Validation, metrics: MetricsLog | None, step: int) -> None:
    scores = validation.run(step)
    if metrics:
        metrics.add_scores(step, scores)


def build_model(config: PretrainConfig, tokenizer: CaptionTokenizer) -> APTM:
    """A model with random weights that follow from the seed."""
    torch.manual_seed(config.seed)
    return APTM(config.model.with_vocab(len(tokenizer)))


def _writer(model: APTM, tokenizer: CaptionTokenizer) -> Callable[[Path, dict[str, Any]], None]:
    return lambda folder, facts: checkpoint.save_model(folder, model, tokenizer, facts)


def _size(config: PretrainConfig, masker: Masker, batch: Batch, prompts: Texts) -> StepSize:
    """Of one part of the step of this batch."""
    return StepSize(
        batch=len(batch.image) // config.train.accumulation,
        caption_tokens=batch.texts.ids.shape[1],
        prompts=len(prompts.ids),
        prompt_tokens=prompts.ids.shape[1],
        matching_prompts=config.objective.num_matching_prompts,
        caption_masks=masker.slots(batch.texts.ids.shape[1]),
        prompt_masks=masker.slots(prompts.ids.shape[1]),
    )


def environment(device: torch.device) -> dict[str, Any]:
    """Where the training runs, as it was last started."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    where = {"device": name, "ranks": world_size(), "code_version": code_version()}
    return {**where, "machine": describe_machine(), "versions": library_versions()}


def _line(config: OptimConfig, progress: Progress, num_steps: int, factor: float, values: Mapping[str, float]) -> dict[str, float]:
    """Of metrics.jsonl, all but the speed."""
    steps = {"step": progress.step, "num_steps": num_steps, "eta_s": progress.seconds / progress.step * (num_steps - progress.step)}
    rates = {"lr": config.lr * factor, "lr_boosted": config.lr * config.boost * factor}
    return {**steps, **rates, **{f"train/{name}": value for name, value in values.items()}}


def _means(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Of each term over the parts of a step."""
    return {name: torch.stack([part[name].detach() for part in parts]).mean() for name in parts[0]}


def _plan(config: PretrainConfig, model: APTM, num_samples: int, num_steps: int, progress: Progress) -> str:
    local = config.train.global_batch // world_size()
    size = sum(p.numel() for p in model.parameters()) / 1e6
    epochs = num_steps * config.train.global_batch / num_samples
    where = f"from step {progress.step}" if progress.step else "from the start"
    return (
        f"{size:.1f} M parameters, {num_samples} samples; batch {local} x {world_size()} ranks = {config.train.global_batch}; "
        f"{num_steps} steps ({epochs:.1f} epochs) {where}"
    )
