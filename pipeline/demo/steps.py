"""The demo as a table of steps. Each is a command line that a user could type; nothing here imports a stage or a training."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.demo.execute import Command, Progress, Step
from pipeline.demo.layout import FINETUNE, GROUPS, DemoPaths
from pipeline.demo.settings import DemoSettings
from pipeline.demo.training import read_lines
from pipeline.describe import describe
from pipeline.fileio import digest, sha256_file
from pipeline.graph import STAGES, num_units
from pipeline.paths import MANIFEST_FILE, METRICS_FILE, SUMMARY_FILE, RunPaths, set_path
from pipeline.version import code_version

_STAGE_SHARES = {"prompts": 0.01, "generate": 0.7, "filter": 0.12, "recrop": 0.02, "caption": 0.12, "annotate": 0.01, "shard": 0.02}


def build_steps(paths: DemoPaths, settings: DemoSettings) -> list[Step]:
    """All steps in the order in which they run. Raises ConfigError for a missing or wrong recipe."""
    generation = generation_step(paths, settings)
    miniature = miniature_step(paths, settings)
    pretrain = pretrain_step(paths, settings, generation)
    finetunes = [finetune_step(paths, settings, group, miniature, pretrain) for group in GROUPS]
    return [generation, miniature, pretrain, *finetunes, submission_step(paths, settings, miniature, finetunes[0])]


def generation_step(paths: DemoPaths, settings: DemoSettings) -> Step:
    recipe, changes = settings.recipe("generation"), (set_path("run.folder", paths.generation), *settings.generation_set)
    plan = describe(recipe, changes)
    return Step(
        name="generation",
        title="prompts to shards",
        commands=(Command(argv=("-m", "pipeline", "run", str(recipe), *_set(*changes))),),
        digest=digest([plan.digests, plan.num_units, code_version()]),
        outputs=(plan.paths.stage("shard") / MANIFEST_FILE,),
        expected_s=150,
        progress=lambda: generation_progress(plan.paths, plan.num_units),
    )


def miniature_step(paths: DemoPaths, settings: DemoSettings) -> Step:
    argv = ("-m", "generation.embedded", "miniature", "--out", str(paths.miniature), "--seed", str(settings.miniature_seed))
    return Step(
        name="miniature",
        title="draw the fine-tuning data",
        commands=(Command(argv=argv),),
        digest=digest([settings.miniature_seed, code_version()]),
        outputs=(paths.miniature / "miniature.json",),
        expected_s=15,
        progress=lambda: Progress(0.5, "drawing pedestrians and vehicles"),
    )


def pretrain_step(paths: DemoPaths, settings: DemoSettings, generation: Step) -> Step:
    shards = RunPaths(paths.generation).stage("shard")
    return _training(
        name="pretrain",
        title="pre-train APTM",
        recipe=settings.recipe("pretrain"),
        package="pretrain",
        changes=(set_path("data.shards", shards), *settings.pretrain_set, set_path("out", paths.pretrain)),
        outputs=(paths.pretrain / SUMMARY_FILE,),
        logs=[paths.pretrain / METRICS_FILE],
        expected_s=100,
        needs=[generation],
    )


def finetune_step(paths: DemoPaths, settings: DemoSettings, group: str, miniature: Step, pretrain: Step) -> Step:
    """All seeds of one group in one process, because loading the libraries costs as much as a training of this size."""
    start = set_path("init.checkpoint", paths.pretrain / "checkpoint") if group == "pretrained" else "init.checkpoint=null"
    changes = (set_path("data.folder", paths.miniature), start, *settings.finetune_set)
    return _training(
        name=f"{FINETUNE}{group}",
        title="fine-tune from the pre-trained weights" if group == "pretrained" else "fine-tune from random weights",
        recipe=settings.recipe("finetune"),
        package="finetune",
        changes=(*changes, set_path("out", paths.finetune(group))),
        more=("--seeds", ",".join(map(str, settings.seeds))),
        outputs=(paths.finetune(group) / "seeds.json",),
        logs=[paths.finetune(group) / f"seed-{seed}" / METRICS_FILE for seed in settings.seeds],
        expected_s=60,
        needs=[miniature, pretrain] if group == "pretrained" else [miniature],
    )


def submission_step(paths: DemoPaths, settings: DemoSettings, miniature: Step, finetuned: Step) -> Step:
    checkpoint, data = paths.finetune(GROUPS[0]) / f"seed-{settings.seeds[0]}", ("--data", str(paths.miniature))
    challenge, submission = ("-m", "finetune", "challenge"), str(paths.submission)
    return Step(
        name="submission",
        title="predict, validate and score the submission",
        commands=(
            Command(argv=(*challenge, "predict", str(checkpoint), *data, "--out", submission)),
            Command(argv=(*challenge, "validate", submission, *data, "--json")),
            Command(argv=(*challenge, "score", submission, *data, "--json"), answer=paths.submission_score),
        ),
        digest=digest([miniature.digest, finetuned.digest]),
        outputs=(paths.submission, paths.submission_score),
        expected_s=15,
        progress=lambda: Progress(0.5, "ranking the test pictures"),
    )


def _training(
    *,
    name: str,
    title: str,
    recipe: Path,
    package: str,
    changes: Sequence[str],
    more: Sequence[str] = (),
    outputs: tuple[Path, ...],
    logs: Sequence[Path],
    expected_s: float,
    needs: Sequence[Step],
) -> Step:
    """A step that runs `python -m PACKAGE train`; logs: the metrics.jsonl that it fills, one after the other."""
    return Step(
        name=name,
        title=title,
        commands=(Command(argv=("-m", package, "train", "--config", str(recipe), *_set(*changes), *more)),),
        digest=digest([sha256_file(recipe), list(changes), list(more), code_version(), *(step.digest for step in needs)]),
        outputs=outputs,
        expected_s=expected_s,
        progress=lambda: training_progress(logs),
    )


def _set(*items: str) -> tuple[str, ...]:
    return tuple(part for item in items for part in ("--set", item))


def generation_progress(run: RunPaths, units: int) -> Progress:
    """Share of all stages, each weighted by what it usually costs, and the stage that is at work."""
    share, current = 0.0, STAGES[-1]
    for spec in reversed(STAGES):
        done, total = len(run.done_units(spec.name)), num_units(spec, units)
        share += _STAGE_SHARES[spec.name] * done / total
        if done < total:
            current = spec
    return Progress(share, f"{current.name}, {len(run.done_units(current.name))} of {num_units(current, units)} units")


def training_progress(logs: Sequence[Path]) -> Progress:
    """From the newest lines of the trainings, of which the first unfinished one is at work."""
    share, text = 0.0, "loading"
    for number, log in enumerate(logs, start=1):
        rows = [row for row in read_lines(log) if "num_steps" in row]
        if rows:
            step, total = rows[-1]["step"], rows[-1]["num_steps"]
            share += step / total / len(logs)
            text = f"training {number} of {len(logs)}, step {step} of {total}" if len(logs) > 1 else f"step {step} of {total}"
    return Progress(share, text)
