import stat
from pathlib import Path

import pytest

from pipeline.contracts.errors import ConfigError, StageError
from pipeline.slurm import client
from pipeline.slurm.client import parse_indices, parse_line


@pytest.mark.parametrize(
    ("text", "indices"),
    [("7", [7]), ("N/A", [0]), ("[3-5,9]", [3, 4, 5, 9]), ("0-8:4", [0, 4, 8]), ("1-3%2", [1, 2, 3])],
)
def test_array_indices_are_read_in_every_form_that_squeue_has(text, indices):
    assert parse_indices(text) == indices


def test_a_list_that_squeue_cut_off_is_refused_and_not_half_read():
    with pytest.raises(StageError, match="SLURM_BITSTR_LEN"):
        parse_indices("1,3,5,...")


def test_waiting_tasks_share_a_line_and_a_reason_may_hold_anything():
    entries = list(parse_line("12|12|[2-3]|PENDING||run-generate-0.0001.abc|Dependency"))
    assert [(e.array_id, e.element, e.is_queued) for e in entries] == [(12, 2, True), (12, 3, True)]
    (entry,) = parse_line("40|40|N/A|PENDING||run-shard.0001.abc|(launch|failed)")
    assert (entry.array_id, entry.element, entry.reason) == (40, 0, "launch|failed")
    (dead,) = parse_line("14|12|1|PENDING||x|DependencyNeverSatisfied")
    assert (dead.is_dead, dead.is_queued) == (True, False)


def on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    for name, text in programs.items():
        file = folder / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_commands_are_started_with_arguments_and_no_shell(tmp_path, monkeypatch):
    log = tmp_path / "log"
    echo = f'for a in "$@"; do echo "$a"; done > {log}; echo "$SLURM_BITSTR_LEN"'
    on_path(tmp_path, monkeypatch, sbatch=f"{echo} >> {log}; echo '77;cluster'", scontrol="echo 'MaxArraySize = 20001'")
    assert client.submit(Path("a b.sbatch"), ["afterok:5", "afterany:6"]) == 77
    assert log.read_text().splitlines() == ["--parsable", "--dependency=afterok:5,afterany:6", "a b.sbatch", "0"]
    assert client.max_array_size() == 20001
    assert client.job_state("1") == ("", "")


def test_a_job_of_the_user_with_a_name_that_is_no_text_does_not_hide_the_queue(tmp_path, monkeypatch):
    on_path(tmp_path, monkeypatch, squeue=r"printf '12|12|N/A|RUNNING|n1|caf\351|None\n13|13|N/A|RUNNING|n1|x|None\n'")
    assert [entry.array_id for entry in client.queue()] == [12, 13]


def test_the_users_variables_of_slurm_neither_hide_jobs_nor_overrule_the_script(tmp_path, monkeypatch):
    log = tmp_path / "log"
    told = f"env | grep -E '^(SBATCH|SQUEUE|SCANCEL|SLURM_C|SLURM_T)' | sort > {log}"
    on_path(tmp_path, monkeypatch, sbatch=f"{told}; echo 77", squeue=told, scancel=told, scontrol=told)
    for name in ("SIGNAL", "TIMELIMIT", "WAIT", "ACCOUNT", "PARTITION", "QOS", "EXPORT"):
        monkeypatch.setenv(f"SBATCH_{name}", "theirs")
    for name in ("SQUEUE_NAMES", "SCANCEL_STATE", "SLURM_CONF", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT"):
        monkeypatch.setenv(name, "theirs")
    script = tmp_path / "x.sbatch"
    script.write_text("#!/bin/bash\n#SBATCH --partition=ours\n#SBATCH --qos=ours\n")
    client.submit(script, [])
    assert log.read_text().split() == ["SBATCH_ACCOUNT=theirs", "SBATCH_EXPORT=theirs", "SLURM_CONF=theirs"]
    for ask in (client.queue, lambda: client.cancel([7]), lambda: client.job_state("7")):
        ask()
        assert log.read_text().split() == ["SLURM_CONF=theirs"]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("JobState=RUNNING Reason=None EndTime=2025-11-21T17:00:00", "RUNNING"),
        ("JobState=COMPLETING Reason=None Restarts=1 EndTime=Unknown", "PENDING"),
        ("JobState=COMPLETING Reason=None Restarts=1 EndTime=2199-11-21T16:46:43", "PENDING"),  # when backfill expects it to end
        ("JobState=COMPLETING Reason=None EndTime=2025-11-21T16:46:43", "CANCELLED"),
        ("JobState=COMPLETING Reason=None EndTime=None", "CANCELLED"),
        ("JobState=COMPLETING Reason=None EndTime=N/A", "CANCELLED"),
        ("JobState=COMPLETING Reason=TimeLimit EndTime=2025-11-21T16:46:43", "TIMEOUT"),
        ("JobState=COMPLETING StartTime=2025-11-21T16:40:00 EndTime=2025-11-21T16:46:43 PreemptTime=None", "CANCELLED"),
        ("JobState=COMPLETING StartTime=2025-11-21T16:40:00 EndTime=2025-11-21T16:46:43 PreemptTime=2025-11-21T16:46:42", "PREEMPTED"),
        ("JobState=COMPLETING StartTime=2025-11-21T16:40:00 EndTime=2025-11-21T16:46:43 PreemptTime=2025-11-21T16:20:00", "CANCELLED"),
        ("JobState=COMPLETING Reason=None PreemptTime=2025-11-21T16:46:42 EndTime=Unknown", "PENDING"),
    ],
)
def test_a_job_whose_processes_are_being_ended_is_told_by_what_comes_next(tmp_path, monkeypatch, said, state):
    on_path(tmp_path, monkeypatch, scontrol=f"echo 'JobId=7 JobName=x {said}'")
    assert client.job_state("7")[0] == state


@pytest.mark.parametrize("scontrol", ["exec sleep 60", "echo 'JobState=RUNNING'; exit 1"])
def test_no_answer_about_a_job_is_no_error(tmp_path, monkeypatch, scontrol):
    """Whoever asks has been told to go, and must yet ask for its requeue."""
    on_path(tmp_path, monkeypatch, scontrol=scontrol)
    monkeypatch.setattr(client, "STATE_TIMEOUT_S", 0.2)
    assert client.job_state("7") == ("", "")


def test_a_requeue_without_an_answer_is_asked_for_again(tmp_path, monkeypatch):
    on_path(tmp_path, monkeypatch, scontrol=f"[ -e {tmp_path}/asked ] || {{ touch {tmp_path}/asked; exec sleep 60; }}")
    monkeypatch.setattr(client, "REQUEUE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(client, "REQUEUE_POLL_S", 0.01)
    assert client.requeue("7", 30) == ""


def test_slurms_own_words_reach_the_user(tmp_path, monkeypatch):
    on_path(tmp_path, monkeypatch, sbatch="echo 'sbatch: error: invalid partition' >&2; exit 1", squeue="echo hello; exit 0")
    with pytest.raises(StageError, match="invalid partition"):
        client.submit(Path("x"), [])
    assert client.queue() == []
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="squeue is not on PATH"):
        client.queue()
