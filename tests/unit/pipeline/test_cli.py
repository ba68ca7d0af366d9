import errno
import json
import sys
from types import SimpleNamespace

import click
import pytest
import yaml

from pipeline import children, cli, doctor
from pipeline.entry import call
from pipeline.slurm import client
from tests.unit.pipeline.fake_flow import write_config
from tests.unit.pipeline.fake_slurm import FakeSlurm


def passerby(*arguments):
    return call(cli.passerby, [str(a) for a in arguments], "passerby")


def test_plan_counts_what_is_missing_and_estimates_from_what_is_done(finished_copy, capsys):
    (finished_copy / "run" / "caption" / "done" / "000001.json").unlink()
    assert passerby("plan", finished_copy / "recipe.yaml", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    rows = {row["stage"]: row for row in answer["stages"]}
    assert (answer["num_units"], answer["num_images"], list(rows)[-1]) == (4, 24, "shard")
    assert (rows["caption"]["missing"], rows["caption"]["done"]) == (1, 3)
    assert rows["caption"]["estimated_seconds"] >= 0
    assert (rows["annotate"]["stale"], rows["annotate"]["missing"]) == (1, 0)
    assert rows["filter"]["estimated_seconds"] == 0


def test_plan_of_a_new_run_knows_no_seconds_and_writes_nothing(tmp_path, fake_generation, capsys):
    assert passerby("plan", write_config(tmp_path), "--json") == 0
    assert {row["estimated_seconds"] for row in json.loads(capsys.readouterr().out)["stages"]} == {None}
    assert not (tmp_path / "run").exists()
    assert passerby("plan", tmp_path / "recipe.yaml") == 0
    assert "unknown" in capsys.readouterr().out


def test_plan_counts_units_of_other_settings_in_a_column_of_their_own(finished_copy, capsys):
    (finished_copy / "run" / "caption" / "done" / "000001.json").unlink()
    assert passerby("plan", finished_copy / "recipe.yaml", "--set", "salt={filter: 1}") == 0
    out = capsys.readouterr().out
    assert "units made with other settings: 4 of filter, 4 of recrop, 3 of caption, 4 of annotate, 1 of shard; `passerby run` says" in out
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    rows = {row[0]: [int(cell.split()[0]) for cell in row[1:5]] for row in table}
    assert rows["generate"] == [4, 4, 0, 0]
    assert rows["caption"] == [4, 0, 1, 3]
    assert passerby("plan", finished_copy / "recipe.yaml") == 0
    assert "other settings" not in capsys.readouterr().out


def test_status_shows_counts_and_reasons(finished_copy, capsys):
    assert passerby("status", finished_copy / "run", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    row = answer["stages"][2]
    assert (answer["running"], row["stage"], row["seen"], row["kept"], row["dropped"], row["failed"]) == (False, "filter", 24, 17, 4, 3)
    assert row["reasons"] == {"blank_image": 4, "unreadable_image": 3}
    assert passerby("status", finished_copy / "run") == 0
    assert "4/4" in capsys.readouterr().out


def test_run_of_a_finished_run_answers_with_its_status(finished_copy, capsys):
    assert passerby("run", finished_copy / "recipe.yaml", "--json") == 0
    assert json.loads(capsys.readouterr().out)["stages"][-1]["done"] == 1


def test_print_config_shows_the_resolved_tree_and_does_nothing(tmp_path, fake_generation, capsys):
    assert passerby("run", write_config(tmp_path), "--set", "run.seed=5", "--print-config") == 0
    assert yaml.safe_load(capsys.readouterr().out)["run"]["seed"] == 5
    assert not (tmp_path / "run").exists()


def test_a_user_error_is_one_message_without_traceback_and_exit_code_2(tmp_path, fake_generation, capsys):
    assert passerby("run", write_config(tmp_path, bad=1)) == 2
    assert capsys.readouterr().err == f"ConfigError: {tmp_path}/recipe.yaml: unknown key bad; did you mean run?\n"
    assert passerby("run") == 2
    assert passerby("nonsense") == 2


def test_settings_typed_without_set_are_shown_with_it(tmp_path, fake_generation, capsys):
    assert passerby("run", write_config(tmp_path), "run.name=big one", "--set", "run.seed=3") == 2
    assert "Settings of the config follow --set: --set 'run.name=big one' --set run.seed=3" in capsys.readouterr().err
    assert passerby("run", write_config(tmp_path), "other.yaml") == 2
    assert "--set" not in capsys.readouterr().err


def test_a_failed_stage_is_exit_code_1(tmp_path, fake_generation, capsys):
    assert passerby("run", write_config(tmp_path, trouble={"prompts": "fail"})) == 1
    error = capsys.readouterr().err
    assert error.startswith("StageError: stage 'prompts', task 0 of 1 ended with exit code 1")
    assert "Traceback" not in error


def test_the_folder_of_a_training_is_no_run(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").touch()
    (tmp_path / "config.yaml").write_text("method: aptm\ndata: {folder: somewhere}\n")
    assert passerby("status", tmp_path) == 2
    assert "is the folder of a training; accepted: a recipe" in capsys.readouterr().err
    assert passerby("report", tmp_path) == 2
    assert "is the folder of a fine-tuning, which has no report" in capsys.readouterr().err


def test_doctor_names_what_is_missing_and_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "version", lambda name: (_ for _ in ()).throw(doctor.PackageNotFoundError(name)))
    assert passerby("doctor", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    torch = next(check for check in answer["checks"] if check["name"] == "torch")
    assert (answer["ready"], torch["verdict"], torch["way_out"]) == (False, "missing", "pip install 'passerby[generation]'")
    assert {check["group"] for check in answer["checks"]} >= {"machine", "pipeline", "embedded models", "slurm", "disk"}
    passerby("doctor")
    assert "how to get it" in capsys.readouterr().out


def test_doctor_finds_two_opencvs_that_overwrite_each_other(monkeypatch):
    versions = {"opencv-python": "4.9", "opencv-contrib-python": "4.11"}
    monkeypatch.setattr(doctor, "_version", versions.get)
    (check,) = [c for c in doctor.examine(cli.Path("runs")) if c.name == "opencv"]
    assert check.verdict == "missing"
    assert "pip uninstall opencv-python opencv-contrib-python" in check.way_out


def test_models_missing_or_slurm_absent_do_not_count_alike():
    absent, missing = doctor.Check("g", "a", "absent", ""), doctor.Check("g", "b", "missing", "")
    assert doctor.is_ready([absent])
    assert not doctor.is_ready([absent, missing])


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("pretrain", "c.yaml", "--set", "a=1"), ["pretrain", "train", "--config", "c.yaml", "--set", "a=1"]),
        (("pretrain", "--help"), ["pretrain", "train", "--help"]),
        (("pretrain", "--set", "a=1", "c.yaml"), ["pretrain", "train", "--set", "a=1", "c.yaml"]),
        (("evaluate", "c.yaml"), ["pretrain", "evaluate", "--config", "c.yaml"]),
        (("parity", "dir", "--json"), ["finetune", "parity", "dir", "--json"]),
        (("finetune", "c.yaml"), ["finetune", "train", "--config", "c.yaml"]),
        (("challenge", "score", "--help"), ["finetune", "challenge", "score", "--help"]),
        (("check-images", "f", "--json"), ["generation", "check-images", "f", "--json"]),
        (("annotate-text", "f"), ["generation", "annotate-text", "f"]),
    ],
)
def test_verbs_hand_over_to_the_packages_and_pass_on_the_exit_code(monkeypatch, arguments, command):
    seen = []
    monkeypatch.setattr(children, "hand_over", lambda argv: seen.append(argv) or 7)
    assert passerby(*arguments) == 7
    assert seen == [[sys.executable, "-m", *command]]


def test_redecide_does_nothing_under_tasks_in_the_queue(tmp_path, fake_generation, monkeypatch, capsys):
    slurm, seen = FakeSlurm(), []
    monkeypatch.setattr(client, "call", slurm)
    monkeypatch.setattr(children, "hand_over", lambda argv: seen.append(argv) or 0)
    recipe = write_config(tmp_path)
    assert passerby("submit", recipe) == 0
    change = ("redecide", tmp_path / "run", "--set", "salt.filter=1")
    assert passerby(*change, "--yes") == 2
    assert "are in Slurm's queue; wait for them, or `passerby cancel` them" in capsys.readouterr().err
    assert seen == []
    assert passerby(*change) == 0
    assert passerby("cancel", recipe) == 0
    assert passerby(*change, "--yes") == 0
    assert [argv[3] for argv in seen] == ["redecide", "redecide"]


@pytest.mark.parametrize(("verb", "usage"), [("regenerate", "passerby regenerate"), ("pretrain", "python -m pretrain train")])
def test_usage_lines_name_what_was_typed(monkeypatch, capsys, verb, usage):
    def child(argv):
        group = click.Group("group", commands={argv[3]: click.Command(argv[3], params=[click.Argument(["run"])])})
        return call(group, [argv[3]], f"python -m {argv[2]}")

    monkeypatch.setattr(children, "hand_over", child)
    assert passerby(verb) == 2
    assert f"Usage: {usage} " in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_watch_that_would_never_wake_is_refused(capsys, value):
    assert passerby("status", "run", "--watch", value) == 2
    assert f"{value} is no finite number" in capsys.readouterr().err


def test_a_full_disk_is_no_traceback_but_a_bug_is(capsys):
    def fail(number):
        raise OSError(number, "words of the system", "file")

    assert call(click.Command("x", callback=lambda: fail(errno.ENOSPC)), [], "x") == 1
    assert "file: words of the system" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        call(click.Command("x", callback=lambda: fail(errno.ENOENT)), [], "x")


def test_main_ends_the_process_with_the_exit_code():
    with pytest.raises(SystemExit) as info:
        cli.main(["nonsense"])
    assert info.value.code == 2


@pytest.fixture
def slurm(monkeypatch):
    from pipeline.slurm import client
    from tests.unit.pipeline.fake_slurm import FakeSlurm

    fake = FakeSlurm()
    monkeypatch.setattr(client, "call", fake)
    return fake


def test_submit_status_retry_and_cancel_of_a_run(tmp_path, fake_generation, slurm, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = write_config(tmp_path)
    assert passerby("submit", recipe, "--site-set", "units_per_task=2", "--dry-run") == 0
    out, err = capsys.readouterr()
    assert err.startswith("no configs/site.yaml here and no --site: no partition, no account")
    assert "#SBATCH --array=0-1" in out
    assert "would submit 7 jobs, 12 tasks, 4 units" in out
    assert passerby("submit", recipe, "--site-set", "units_per_task=2", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["submission"], answer["units"], [job["job_id"] for job in answer["jobs"]]) == (1, 4, [j.job_id for j in slurm.jobs])
    assert passerby("run", recipe) == 2
    assert "12 tasks of" in capsys.readouterr().err
    assert passerby("submit", tmp_path / "run") == 0
    assert capsys.readouterr().out == "nothing to submit; 4 units are in the queue already\n"
    assert passerby("status", tmp_path / "run") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"{tmp_path / 'run'}: images (no process here; on Slurm 12 tasks wait or run)" in out
    assert "on Slurm: units (12 tasks wait or run)" in out
    slurm.set("prompts", "FAILED", "NonZeroExitCode")
    assert passerby("status", tmp_path / "run", "--json") == 0
    answer = json.loads(capsys.readouterr().out)["slurm"]
    assert answer["failures"][0] | {"jobs": 0} == answer["failures"][0] | {"cause": "never started", "stage": "prompts", "jobs": 0}
    assert passerby("cancel", tmp_path / "run") == 0
    assert capsys.readouterr().out == "11 tasks taken out of the queue; what is done stays done\n"
    assert passerby("retry", tmp_path / "run", "--site-set", "units_per_task=4") == 0
    assert "submission 2: 7 jobs, 7 tasks, 4 units" in capsys.readouterr().out


def test_watch_goes_on_until_nothing_waits_or_runs(tmp_path, fake_generation, slurm, monkeypatch, capsys):
    from pipeline.slurm import commands

    assert passerby("submit", write_config(tmp_path)) == 0
    capsys.readouterr()
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            passerby("cancel", tmp_path / "run")

    monkeypatch.setattr(commands, "time", SimpleNamespace(sleep=sleep))
    assert passerby("status", tmp_path / "run", "--watch", "7", "--json") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert waits == [7.0, 7.0]
    assert [json.loads(line)["slurm"]["active"] for line in lines] == [7, 7, 0]
