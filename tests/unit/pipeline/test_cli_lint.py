"""`passerby lint`: exit code and words for sound, unfinished and edited runs."""

import json
import shutil

from pipeline import cli
from pipeline.entry import call
from pipeline.outputs import remove_stages
from pipeline.paths import RunPaths


def passerby(*arguments):
    return call(cli.passerby, [str(a) for a in arguments], "passerby")


def test_lint_ends_with_1_if_something_is_wrong(finished_copy, capsys):
    assert passerby("lint", finished_copy / "run") == 0
    assert capsys.readouterr().out.endswith("sound\n")
    (finished_copy / "run" / "filter" / "units" / "000000.parquet").unlink()
    assert passerby("lint", finished_copy / "run", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert not answer["sound"]
    assert answer["findings"][0]["file"] == "filter/units/000000.parquet"
    assert passerby("lint", finished_copy) == 2


def test_what_lint_advises_mends_the_run_and_keeps_sound_shards(finished_copy, capsys):
    run = finished_copy / "run"
    shard = next((run / "shards").glob("*.tar"))
    for damaged in (run / "recrop" / "units" / "000002.tar", shard):
        damaged.write_bytes(damaged.read_bytes()[:600] + bytes(8) + damaged.read_bytes()[608:])
    assert passerby("lint", run) == 1
    first, second = capsys.readouterr().out.splitlines()[-2:]
    record = run / "recrop" / "done" / "000002.json"
    assert first == f"make these units again: delete {record}, then `passerby run {run}`"
    assert second == f"make the shards again: `passerby run {run} --redo shard`"
    record.unlink()
    assert passerby("run", run) == 0
    assert passerby("lint", run) == 1
    assert capsys.readouterr().out.splitlines()[-1] == second
    assert passerby("run", run, "--redo", "shard") == 0
    assert passerby("lint", run) == 0


def test_where_pictures_were_deleted_lint_says_what_making_shards_again_costs(finished_copy, capsys):
    run = finished_copy / "run"
    for tar in (run / "generate" / "units").glob("*.tar"):
        tar.unlink()
    assert passerby("lint", run) == 1
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last[0] == f"{run}: 4 findings"
    assert last[1] == f"the shards are sound and need none of these files; `passerby run {run}` draws 24 images again, whose tars are gone"
    for stage in ("generate", "filter", "recrop", "caption", "annotate"):
        shutil.rmtree(run / stage)
    shard = next((run / "shards").glob("*.tar"))
    shard.write_bytes(shard.read_bytes()[:600])
    assert passerby("lint", run) == 1
    (line,) = capsys.readouterr().out.partition(" findings\n")[2].splitlines()
    assert line.startswith(f"copy the shards again from where else they are; `passerby run {run} --redo shard` draws 24 images again")


def test_of_many_damaged_units_three_are_named_and_a_download_is_copied_again(finished_copy, capsys):
    for file in (finished_copy / "run" / "caption" / "units").glob("*.parquet"):
        file.unlink()
    assert passerby("lint", finished_copy / "run") == 1
    assert "000002.json and 1 more, which `--json` names, then" in capsys.readouterr().out
    next((finished_copy / "run" / "shards").glob("*.tar")).unlink()
    assert passerby("lint", finished_copy / "run" / "shards") == 1
    assert "copy these files again from where they came" in capsys.readouterr().out
    (finished_copy / "run" / "config.yaml").unlink()
    assert passerby("lint", finished_copy / "run") == 1
    assert "delete" not in capsys.readouterr().out, "`passerby run` could not make them"


def test_lint_of_an_unfinished_run_names_what_is_not_made_and_ends_with_1(finished_copy, capsys):
    run = finished_copy / "run"
    (run / "shards" / "done" / "000000.json").unlink()
    assert passerby("lint", run) == 1
    assert "sound so far; not made yet: shard (1 units)" in capsys.readouterr().out
    remove_stages(RunPaths(run), ["recrop", "caption", "annotate", "shard"])  # as `redecide --yes` does
    assert passerby("lint", run, "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["sound"], answer["complete"], answer["findings"]) == (True, False, [])
    assert answer["not_made"] == {"recrop": 4, "caption": 4, "annotate": 4, "shard": 1}
    (run / "filter" / "ledger" / "000000.parquet").unlink()
    remove_stages(RunPaths(run), ["generate"])
    assert passerby("lint", run) == 1
    assert "draws" not in capsys.readouterr().out, "no picture was deleted: these are not drawn yet"


def test_lint_names_units_of_other_settings_which_run_refuses(finished_copy, capsys):
    config = finished_copy / "run" / "config.yaml"
    config.write_text(config.read_text() + "salt: {caption: 1}\n")
    assert passerby("lint", finished_copy / "run", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["sound"], answer["complete"], answer["not_made"]) == (True, False, {})
    assert answer["other_settings"] == {"caption": 4, "annotate": 4, "shard": 1}
    remove_stages(RunPaths(finished_copy / "run"), ["annotate", "shard"])
    assert passerby("lint", finished_copy / "run") == 1
    out = capsys.readouterr().out
    assert "sound so far; not made yet: annotate (4 units), shard (1 units); " in out
    assert f"made with other settings: caption (4 units); `passerby run {finished_copy / 'run'}` says what to do\n" in out


def test_lint_of_whole_shards_goes_on_without_the_unit_stages(finished_copy, capsys):
    shutil.rmtree(finished_copy / "run" / "generate")
    assert passerby("lint", finished_copy / "run") == 1
    for stage in ("filter", "recrop", "caption", "annotate"):
        shutil.rmtree(finished_copy / "run" / stage)
    (finished_copy / "run" / "filter").mkdir()  # emptied, not removed
    assert passerby("lint", finished_copy / "run") == 0
    assert capsys.readouterr().out.endswith("sound\n")
    config = finished_copy / "run" / "config.yaml"
    config.write_text(config.read_text() + "salt: {shard: 1}\n")
    assert passerby("lint", finished_copy / "run") == 1
    assert "sound so far; made with other settings: shard (1 units); " in capsys.readouterr().out


def test_lint_takes_finished_shards_whose_recipe_is_refused_here(finished_copy, capsys):
    (finished_copy / "run" / "config.yaml").unlink()
    assert passerby("lint", finished_copy / "run") == 0
    assert passerby("lint", finished_copy / "run" / "shards") == 0
    (finished_copy / "run" / "shards" / "done" / "000000.json").unlink()
    assert passerby("lint", finished_copy / "run") == 2
    assert "holds no config.yaml" in capsys.readouterr().err
