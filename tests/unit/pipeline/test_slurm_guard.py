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
    monkeypatch.setattr(client, "call", _without_slurm)
    refuse_queued(run.plan)


def _without_slurm(argv, timeout_s):
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


def test_what_is_being_ended_is_neither_in_flight_nor_gone(run):
    """scancel has been heard, the processes still run: up to Slurm's KillWait."""
    write_config(run.folder, num_units=6)
    run.submit()
    run.slurm.set("prompts", "COMPLETED")
    run.slurm.set("generate-0", "RUNNING")
    assert cancel(run.plan) == 16
    with pytest.raises(ConfigError, match=r"3 cancelled tasks of .* are still being ended by Slurm; try again in a minute") as refused:
        refuse_queued(run.plan)
    assert "(110_0, 110_1, 110_2 on n1), see `scontrol show job 110_0` and ask" in str(refused.value)
    write_config(run.folder, num_units=6, salt={"caption": 1})
    assert run.submit(dry_run=True).num_units == 6, "what is being ended makes pictures, which have not changed"
    write_config(run.folder, num_units=6, salt={"generate": 1})
    with pytest.raises(ConfigError, match=r"3 cancelled tasks of .* are still being ended"):
        run.submit()
    write_config(run.folder, num_units=6)
    sent = run.submit()
    assert (sent.num_units, sent.num_waiting) == (6, 0)
    with pytest.raises(ConfigError, match=r"17 tasks of .* are in Slurm's queue; wait"):
        refuse_queued(run.plan)


def test_an_interrupted_submit_of_other_settings_is_waited_for_while_it_is_being_ended(run):
    run.slurm.late, run.slurm.deaf = ("generate-0",), True
    with pytest.raises(StageError, match="Socket timed out"):
        run.submit()
    run.slurm.late, run.slurm.deaf = (), False
    run.slurm.set("prompts", "RUNNING")
    write_config(run.folder, num_units=6, salt={"prompts": 1})
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"1 cancelled tasks of .* are still being ended"):
            run.submit()
    assert run.said == ["submission 1 was interrupted; what it sent is taken back"]
    run.slurm.set("prompts", "CANCELLED")
    assert run.submit().num_units == 6
