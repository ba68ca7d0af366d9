"""Submit and retry against a fake Slurm; tests/slurm has the real one."""

import subprocess

import pytest

from pipeline.contracts.errors import ContractError
from pipeline.fileio import read_json
from pipeline.slurm import show, submission
from pipeline.slurm.site import Resources, SiteConfig
from pipeline.slurm.submit import dry_text
from tests.unit.pipeline.slurm_run import ARRAYS, NAMES, fail_caption_of_task_1


def dependencies(run):
    """job -> its dependency with names in place of ids."""
    names = {str(job.job_id): job.name.split("-", 1)[1].split(".")[0] for job in run.slurm.jobs}
    result = {}
    for job in run.slurm.jobs:
        parts = [part.split(":") for part in job.dependency.split(",") if part]
        result[names[str(job.job_id)]] = [f"{kind}:{names.get(number, number)}" for kind, number in parts]
    return result


def test_a_new_run_is_one_array_a_stage_chained_task_by_task(run):
    sent = run.submit()
    assert [(job.name, job.size) for job in sent.jobs] == [("prompts", 1), *((f"{s}-0", 3) for s in ARRAYS), ("shard", 1)]
    assert dependencies(run) == {
        "prompts": [],
        "generate-0": ["afterok:prompts"],
        "filter-0": ["aftercorr:generate-0"],
        "recrop-0": ["aftercorr:filter-0"],
        "caption-0": ["aftercorr:recrop-0"],
        "annotate-0": ["aftercorr:caption-0"],
        "shard": ["afterok:annotate-0"],
    }
    generate, annotate = run.slurm.job("generate-0"), run.slurm.job("annotate-0")
    assert (generate.window, annotate.window) == ("2", "")
    assert "#SBATCH --gpus-per-node=1" in generate.script
    assert "gpus" not in annotate.script
    assert "--signal=B:USR1@300" in annotate.script
    assert submission.read_all(run.paths)[0].state == "submitted"


def test_a_fused_run_is_one_array_with_the_resources_of_a_gpu_stage(run):
    run.execution = "fused"
    sent = run.submit()
    assert [(job.name, job.size) for job in sent.jobs] == [("prompts", 1), ("fused-0", 3), ("shard", 1)]
    assert dependencies(run) == {"prompts": [], "fused-0": ["afterok:prompts"], "shard": ["afterok:fused-0"]}
    array = run.slurm.job("fused-0")
    assert (array.window, "#SBATCH --gpus-per-node=1" in array.script) == ("2", True)
    assert run.submit().num_waiting == 6, "in the queue already"


def test_a_fused_run_sends_what_needs_no_gpu_to_cpus_and_the_rest_in_one_piece(run):
    run.make()
    run.lose("annotate", 1)
    run.lose("filter", 2, 4)
    run.execution = "fused"
    run.submit()
    assert {name: after for name, after in dependencies(run).items() if name != "shard"} == {"fused-0": [], "annotate-1": []}
    run.slurm.jobs.clear()


def test_submit_again_sends_nothing_while_it_runs_nor_when_all_is_done(run):
    run.submit()
    again = run.submit()
    assert (again.jobs, again.num_waiting, len(run.slurm.jobs)) == ([], 6, 7)
    run.make()
    run.slurm.jobs.clear()
    assert run.submit().jobs == []
    assert run.slurm.jobs == []


def test_only_what_is_missing_is_sent_from_the_stage_that_lacks_it(run):
    run.make()
    run.lose("generate", 3)
    run.lose("caption", 0, 5)
    run.lose("shard", 0)
    sent = run.submit()
    arrays = {job.name: job for job in sent.jobs if job.group is not None}
    assert list(arrays) == ["generate-0", "filter-0", "recrop-0", "caption-0", "annotate-0", "caption-1", "annotate-1"]
    record = submission.read_all(run.paths)[0]
    assert [record.units(arrays[name], 0) for name in ("generate-0", "caption-1")] == [[3], [0, 5]]
    assert dependencies(run)["caption-1"] == []
    assert dependencies(run)["shard"] == ["afterok:annotate-0", "afterok:annotate-1"]


def test_max_array_size_splits_arrays_and_the_window_holds_over_all_of_them(run):
    run.slurm.max_array_size = 4
    run.submit(units_per_task=1)
    assert [(run.slurm.job(f"generate-{i}").elements, run.slurm.job(f"generate-{i}").window) for i in (0, 1)] == [
        ([0, 1, 2], "1"),
        ([0, 1, 2], "1"),
    ]
    run.slurm.jobs.clear()
    run.slurm.max_array_size = 2
    run.submit(units_per_task=1)
    assert dependencies(run)["generate-2"] == ["afterok:prompts", "afterany:generate-0"]


def test_a_dry_run_prints_what_would_be_sent_and_leaves_no_trace(run):
    text = dry_text(run.submit(dry_run=True))
    assert "$ sbatch --parsable '--dependency=aftercorr:<id of generate-0>'" in text
    assert text.count("#SBATCH --array=0-2") == len(ARRAYS)
    assert "exec " in text
    assert run.slurm.jobs == []
    assert not run.paths.root.exists()


def test_a_dry_run_works_without_slurm_and_says_what_it_does_not_know(run):
    run.slurm.alive = False
    assert len(run.submit(dry_run=True).scripts) == 7
    assert run.said[0].startswith("Slurm does not answer")
    assert "at most 1001 tasks" in run.said[0]


def test_another_config_is_refused_before_anything_is_sent(run):
    run.make()
    (run.folder / "recipe.yaml").write_text((run.folder / "recipe.yaml").read_text() + "salt: {filter: 1}\n")
    with pytest.raises(ContractError, match="another config of stage 'filter'"):
        run.submit()
    assert run.slurm.jobs == []


def test_retry_sends_what_failed_and_a_new_end_that_waits_for_what_still_runs(run):
    fail_caption_of_task_1(run)
    sent = run.submit(only_failed=True)
    assert [job.name for job in sent.jobs] == ["caption-0", "annotate-0", "shard"]
    assert (sent.num_units, sent.num_waiting) == (2, 4)
    old = next(job for job in submission.read_all(run.paths)[0].jobs if job.name == "annotate-0")
    assert dependencies(run)["shard"][1] in ("afterany:annotate-0", f"afterany:{old.job_id}")
    assert run.submit(only_failed=True).jobs == []


def test_a_container_holds_the_stages_and_the_watcher_stays_outside(run):
    container = ("apptainer", "exec", "--nv", "my image.sif", "python", "-m", "generation")
    run.submit(site=SiteConfig(worker=container, python="/venv/bin/python", setup=("module load apptainer",)))
    script = run.slurm.job("generate-0").script
    assert "\nmodule load apptainer\n" in script
    assert "\nexec /venv/bin/python -m pipeline.slurm.task --submission" in script
    assert submission.read_all(run.paths)[0].worker == list(container)


def test_a_dry_run_shows_what_a_task_starts_and_its_units(run):
    container = ("apptainer", "exec", "--bind", "/scratch dir", "my.sif", "python", "-m", "generation")
    sent = run.submit(dry_run=True, site=SiteConfig(worker=container, units_per_task=4, gpu=Resources(gpus=2)))
    start = f"  apptainer exec --bind '/scratch dir' my.sif python -m generation {{}} --config {run.paths.config} --set "
    text = dry_text(sent)
    heading = "task 0 of 2 starts, for 3 of 6 units, by 2 workers with a part of its units each:\n"
    assert heading + start.format("generate") in text
    assert "task 0 of 2 starts, for 3 of 6 units:\n" + start.format("filter") in text
    assert "\nstarts:\n" + start.format("shard") in text
    whole_nodes = dry_text(run.submit(dry_run=True, site=SiteConfig(units_per_task=4, gpu=Resources(gpus=4))))
    assert "for 3 of 6 units, by 3 workers" in whole_nodes, "none without a unit"
    generate = show.sent_json(sent, "x")["jobs"][1]
    assert (generate["task_units"], generate["first_task_starts"][-2:]) == ([[0, 2, 4], [1, 3, 5]], ["--units", "0-4:2"])


def test_lines_of_the_site_may_read_variables_that_are_unset_and_their_errors_end_the_script(run):
    run.submit(site=SiteConfig(setup=('[ "$PS1_OF_A_VENV" = x ] || echo no prompt',)))
    for job in ("prompts", "generate-0"):
        before = run.slurm.job(job).script.split("\nexec ")[0]
        done = subprocess.run(["bash", "-c", f"{before}\necho $NOWHERE_SET"], capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode != 0, "NOWHERE_SET" in done.stderr) == ("no prompt\n", True, True)


def test_the_site_and_the_jobs_are_on_disk_beside_the_scripts(run):
    run.submit()
    folder = submission.folder(run.paths, 1)
    assert {path.name for path in folder.iterdir()} >= {
        "submission.json",
        "site.yaml",
        "prompts.sbatch",
        "shard.sbatch",
        "generate-0.sbatch",
    }
    assert [job["job_id"] for job in read_json(folder / "submission.json")["jobs"]] == [job.job_id for job in run.slurm.jobs]
    assert [job["stage"] for job in show.sent_json(run.submit(dry_run=True), "x")["jobs"]] == []
    assert len(NAMES) == len(run.slurm.jobs)
