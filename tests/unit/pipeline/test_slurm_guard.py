"""What is refused while tasks of a run are, or may be, in the queue."""

import pytest

from pipeline.contracts.errors import ConfigError, StageError
from pipeline.slurm import client
from pipeline.slurm.guard import refuse_queued
from pipeline.slurm.withdraw import cancel
from tests.unit.pipeline.fake_flow import write_config


def test_a_local_run_is_refused_while_tasks_are_queued(run):
    refuse_queued(run.plan)
    run.submit()
    with pytest.raises(ConfigError, match=r"17 tasks of .* are in Slurm's queue; wait for them, or `passerby cancel`"):
        refuse_queued(run.plan)
    cancel(run.plan)
    refuse_queued(run.plan)


def test_a_local_run_is_refused_if_slurm_does_not_answer_and_tasks_of_it_may_run(run, monkeypatch):
    run.slurm.alive = False
    refuse_queued(run.plan)
    run.slurm.alive = True
    run.submit()
    run.make("prompts", "generate")
    run.slurm.set("filter-0", "FAILED", "NonZeroExitCode", [0])
    run.status()  # sees that end, and remembers it
    run.slurm.alive = False
    with pytest.raises(StageError, match=r"does not answer, and 12 tasks of submission 1 in .* may run; try again.*Unable to contact"):
        refuse_queued(run.plan)
    run.make()
    refuse_queued(run.plan)
    run.lose("shard", 0)
    monkeypatch.setattr(client, "_call", _without_slurm)
    refuse_queued(run.plan)


def _without_slurm(argv):
    raise ConfigError("squeue is not on PATH")


@pytest.mark.parametrize("dry_run", [False, True])
def test_other_settings_are_refused_while_tasks_of_the_old_ones_are_in_the_queue(run, dry_run):
    write_config(run.folder, num_units=6, generate={"steps": 20})
    run.submit()
    before = run.paths.config.read_bytes()
    write_config(run.folder, num_units=6, generate={"steps": 30}, salt={"generate": 30})
    with pytest.raises(ConfigError, match=r"16 tasks of .* changed: generate.steps 20 -> 30; wait for them, or `passerby cancel"):
        run.submit(dry_run=dry_run)
    assert run.paths.config.read_bytes() == before
    for stage in ("generate-0", "filter-0", "recrop-0", "caption-0", "annotate-0", "shard"):
        run.slurm.set(stage, "CANCELLED")
    assert run.submit(dry_run=dry_run).num_units == 6, "prompts, which is still in the queue, has not changed"
