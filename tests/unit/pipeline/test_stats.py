import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import passerby
from pipeline.contracts.errors import ContractError
from pipeline.distributions import Distribution, Texts
from pipeline.paths import RunPaths
from pipeline.pictures import thumbnail
from pipeline.report import top_reasons
from pipeline.run_report import dropped_pictures, kept_samples
from pipeline.stats import stats
from pipeline.tables import read_rows, write_rows
from tests.unit.pipeline.fake_flow import GREY_PIXEL


@pytest.fixture
def paths(finished_copy):
    return RunPaths(finished_copy / "run")


def test_a_distribution_is_that_of_all_values():
    values = np.random.default_rng(0).normal(5, 2, 5000).astype(np.float32)
    one = Distribution()
    for chunk in np.array_split(values, 7):
        one.add(chunk.tolist())
    one.add([])
    summary = one.summary()
    assert summary["count"] == 5000
    for name, share in (("p5", 0.05), ("p50", 0.5), ("p99", 0.99)):
        assert summary[name] == pytest.approx(float(np.quantile(values, share)), rel=1e-4)
    assert sum(summary["histogram"]["counts"]) == 5000
    assert Distribution().summary() == {"count": 0}


def test_values_that_are_not_finite_are_left_out():
    one = Distribution()
    one.add([1.0, float("nan"), 3.0, float("inf"), 1e300])
    one.add([float("nan")])
    assert (one.summary()["count"], one.summary()["min"], one.summary()["max"]) == (2, 1.0, 3.0)


def test_equal_values_have_a_histogram_too():
    one = Distribution()
    one.add([3.0] * 10)
    assert sum(one.summary()["histogram"]["counts"]) == 10


def test_texts_count_repeats():
    texts = Texts()
    texts.add(["a man", "a boy in red", None])
    texts.add(["a man", "a man"])
    summary = texts.summary()
    assert (summary["count"], summary["different"], summary["words"]["max"]) == (4, 2, 4)
    assert summary["most_repeated"] == [{"text": "a man", "times": 3}]


def test_stats_agree_with_the_tables(paths):
    answer = stats(paths)
    rows = [row for unit in range(4) for row in read_rows(paths.units("filter", unit, "parquet"))]
    kept = [row["measures"]["blur"] for row in rows if row["status"] == "kept"]
    assert answer["stages"]["filter"]["kept"] == len(kept)
    assert sum(answer["stages"]["filter"]["reasons"].values()) == len(rows) - len(kept)
    assert answer["measures"]["kept"]["blur"]["count"] == len(kept)
    assert answer["measures"]["kept"]["blur"]["max"] == pytest.approx(max(kept))
    assert answer["measures"]["dropped"]["blur"]["count"] == sum(row["status"] == "dropped" for row in rows)
    assert answer["captions"]["count"] == answer["captions"]["different"] == len(kept)
    assert answer["attributes"]["by_name"]["hat"]["not_stated"] == len(kept)
    assert answer["shards"]["splits"] == {"train": len(kept) - 2, "val": 2}


def test_attributes_are_counted_by_value(paths):
    table = paths.units("annotate", 0, "parquet")
    rows = read_rows(table)
    write_rows(table, [{**row, "labels": [0, 1, *row["labels"][2:]]} for row in rows])
    by_name = stats(paths)["attributes"]["by_name"]
    assert by_name["gender"]["0"] == by_name["age"]["1"] == len(rows)
    assert by_name["hair_length"]["0"] == 0


def test_texts_and_attributes_are_those_of_the_samples_in_the_shards(paths):
    """Which the shard stage may have dropped: near-duplicates."""
    ledger = paths.ledger("shard", 0)
    rows = read_rows(ledger)
    dropped = {row["key"] for row in rows[1::2]}
    write_rows(ledger, [row | ({"status": "dropped", "reason": "near_duplicate"} if row["key"] in dropped else {}) for row in rows])
    captions = [row for unit in range(4) for row in read_rows(paths.units("caption", unit, "parquet")) if row["status"] == "kept"]
    left = [row for row in captions if row["key"] not in dropped]
    assert 0 < len(left) < len(captions)
    answer = stats(paths)
    assert answer["captions"]["count"] == answer["prompts"]["count"] == sum(answer["source"].values()) == len(left)
    assert answer["attributes"]["by_name"]["hat"]["not_stated"] == answer["attributes"]["stated_per_sample"]["count"] == len(left)
    write_rows(ledger, [row | {"status": "dropped", "reason": "near_duplicate"} for row in rows])
    assert (stats(paths)["captions"]["count"], stats(paths)["attributes"]["by_name"]["hat"]["not_stated"]) == (0, 0)
    paths.done("shard", 0).unlink()
    assert stats(paths)["captions"]["count"] == len(captions)


def test_a_run_that_has_only_begun_has_stats_too(paths):
    for name in ("filter", "recrop", "caption", "annotate", "shards"):
        shutil.rmtree(paths.root / name)
    assert set(stats(paths)) == {"run", "stages"}


def test_a_folder_of_shards_has_the_stats_of_its_samples(paths, tmp_path):
    whole = stats(paths)
    folder = shutil.copytree(paths.stage("shard"), tmp_path / "copy", ignore=shutil.ignore_patterns("done", "ledger"))
    answer = stats(RunPaths(folder))
    assert set(answer) == set(whole) - {"measures"}
    same = ("captions", "prompts", "attributes", "shards")
    assert {name: answer[name] for name in same} == {name: whole[name] for name in same}
    assert (answer["source"], answer["generator"]) == ({"test": 17}, {"fake": 17})
    assert answer["stages"]["shard"]["kept"] == whole["stages"]["shard"]["kept"]
    printed = CliRunner().invoke(passerby, ["stats", str(folder)])
    assert printed.exit_code == 0, printed.output
    assert "upper_red" in printed.output
    assert len(list(kept_samples(RunPaths(folder), 5))) == 5
    shard = folder / "train-000000.tar"
    shard.write_bytes(shard.read_bytes().replace(b'"labels":[', b'"labels":[7', 1))
    with pytest.raises(ContractError, match=r"train-000000\.tar, sample 0.*"):
        stats(RunPaths(folder))


@pytest.mark.parametrize("labels", [b'"labels":[ 2', b'"labels":[0'])
def test_labels_of_another_space_are_refused_by_the_sample(paths, labels):
    """The second has 26 of them, since it takes the place of two."""
    shard = paths.stage("shard") / "train-000000.tar"
    old = b'"labels":[-1' if labels.endswith(b"2") else b'"labels":[-1,-1'
    shard.write_bytes(shard.read_bytes().replace(old, labels.ljust(len(old)), 1))
    with pytest.raises(ContractError, match=r"train-000000\.tar, sample 0.*: labels \[[20], .* 27 of 0, 1, -1; `passerby lint` says more"):
        stats(RunPaths(paths.stage("shard")))


def test_shards_that_lack_something_are_to_be_copied_anew(paths):
    shards = paths.stage("shard")
    tar = shards / "train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(ContractError, match=r"train-000000\.tar is shorter than its index says; copy it anew"):
        stats(RunPaths(shards))
    (shards / "index.parquet").unlink()
    with pytest.raises(ContractError, match=r"index\.parquet does not exist; copy it anew"):
        stats(RunPaths(shards))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ContractError, match="holds no done record"):
        stats(RunPaths(tmp_path))


def test_the_command_prints_tables_or_json(paths):
    printed = CliRunner().invoke(passerby, ["stats", str(paths.root)])
    assert printed.exit_code == 0, printed.output
    assert "upper_red" in printed.output
    assert re.search(r"hat.* with a hat .*without a hat", printed.output)
    assert re.search(r"captions: 17, .*, median \d+ words", printed.output)
    assert "prompt files" not in printed.output  # of a run of before they were counted
    assert json.loads(CliRunner().invoke(passerby, ["stats", str(paths.root), "--json"]).output)["run"] == str(paths.root)


def test_the_page_shows_numbers_samples_and_dropped_pictures(paths):
    index = paths.stage("shard") / "index.parquet"
    num_samples = len(read_rows(index))
    done = CliRunner().invoke(passerby, ["report", str(paths.root), "--samples", "5"])
    assert done.exit_code == 0, done.output
    page = (paths.root / "report.html").read_text(encoding="utf-8")
    assert "blank_image" in page
    assert f">{num_samples}<" in page
    pictures = re.findall(r'data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 5  # the fake generator's PNG is none, so dropped pictures are shown as missing
    assert base64.b64decode(pictures[0]).startswith(b"\xff\xd8")
    assert not re.search(r'(?:src|href)="https?:', page)
    assert '<td class="text">with a hat</td>' in page
    assert re.search(r"This page was written 20\d\d-", page)
    assert f"view: not known ({num_samples})" in page


def test_the_page_shows_the_settings_and_what_was_left_out_of_the_prompt_files(paths):
    paths.config.write_text("filter: {min: <1>}\n")
    left_out = {"texts": 9, "of_other_splits": 2, "repeats": 1, "beyond_num_prompts": 0, "prompts": 6}
    paths.prompts_read.write_text(json.dumps(left_out))
    sentence = "9 texts; left out: 2 of other splits, 1 repeats, 0 beyond num prompts; 6 prompts"
    assert sentence in CliRunner().invoke(passerby, ["stats", str(paths.root)]).output
    assert CliRunner().invoke(passerby, ["report", str(paths.root), "--samples", "0"]).exit_code == 0
    page = (paths.root / "report.html").read_text(encoding="utf-8")
    assert sentence in page
    assert "<pre>filter: {min: &lt;1&gt;}\n</pre>" in page
    assert stats(paths)["prompts_read"] == left_out
    paths.config.unlink()  # stages typed by hand
    assert CliRunner().invoke(passerby, ["report", str(paths.root), "--samples", "0"]).exit_code == 0


@pytest.mark.parametrize(
    "text",
    ["[1]", '{"texts": 9}', '{"texts": 9, "prompts": [6]}', '{"texts": 9, "prompts": true}', '{"texts": 9, "prompts": 6, "repeats": -3}'],
)
def test_counts_of_prompt_files_of_another_form_are_refused_by_name(paths, text):
    paths.prompts_read.write_text(text)
    with pytest.raises(ContractError, match=r"read\.json does not say how prompt files were read; .* Delete it"):
        stats(paths)


def test_the_page_of_a_run_that_lost_everything_opens(paths):
    """When a user needs it most: no text, no measure, no label is there."""
    for folder in ("caption", "annotate"):
        for path in (paths.root / folder / "units").glob("*.parquet"):
            write_rows(path, [{**row, "status": "dropped", "reason": "short_caption"} for row in read_rows(path)])
    done = CliRunner().invoke(passerby, ["report", str(paths.root), "--samples", "0"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "<td>captions</td><td>0</td>" in (paths.root / "report.html").read_text(encoding="utf-8")
    printed = CliRunner().invoke(passerby, ["stats", str(paths.root)])
    assert printed.exit_code == 0, (printed.output, printed.exception)
    assert "captions: 0, 0 different" in printed.output


def test_what_lacks_or_is_damaged_is_named_with_the_way_out(paths):
    tar = min(paths.stage("shard").glob("*.tar"))
    tar.rename(tar.with_suffix(".away"))
    with pytest.raises(ContractError, match=rf"{tar.name} cannot be read .*; `passerby run .*` makes it again"):
        list(kept_samples(paths, 1000))
    (paths.stage("shard") / "manifest.json").write_text("{")
    with pytest.raises(ContractError, match=r"manifest\.json is not a shard manifest .*`passerby run RUN --redo shard`"):
        stats(paths)
    (paths.stage("shard") / "manifest.json").unlink()
    with pytest.raises(ContractError, match=r"manifest\.json cannot be read .*`passerby run RUN --redo shard`"):
        stats(paths)


def test_the_reasons_that_a_table_has_no_place_for_are_counted():
    assert top_reasons({"a": 5, "b": 4, "c": 2, "d": 1, "e": 1}) == "a 5, b 4, c 2, 2 more"
    assert (top_reasons({"a": 5}), top_reasons({})) == ("a 5", "")


def test_a_pipe_has_no_edge_at_which_numbers_are_cut(paths, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert "…" not in CliRunner().invoke(passerby, ["stats", str(paths.root)]).output


def test_samples_are_drawn_from_the_whole_index_and_always_the_same(paths):
    keys = [sample["key"] for sample in kept_samples(paths, 4)]
    assert len(set(keys)) == 4
    assert keys == sorted(keys) == [sample["key"] for sample in kept_samples(paths, 4)]
    assert len(list(kept_samples(paths, 1000))) == len(read_rows(paths.stage("shard") / "index.parquet"))


def test_dropped_pictures_are_grouped_by_stage_and_reason(paths):
    groups = list(dropped_pictures(paths))
    assert [(g["stage"], g["reason"]) for g in groups] == [("filter", "blank_image")]
    dropped = [row["key"] for unit in range(4) for row in read_rows(paths.ledger("filter", unit)) if row["reason"] == "blank_image"]
    assert [p["key"] for p in groups[0]["pictures"]] == dropped[:8]


def test_a_picture_whose_header_promises_too_much_is_shown_as_missing(paths, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 0)
    assert {sample["picture"] for sample in kept_samples(paths, 4)} == {""}


def test_a_thumbnail_is_small():
    from PIL import Image

    sink = io.BytesIO()
    Image.new("RGBA", (300, 900), (10, 20, 30, 40)).save(sink, "PNG")
    with Image.open(io.BytesIO(thumbnail(sink.getvalue(), 90))) as small:
        assert small.size == (30, 90)
    assert thumbnail(GREY_PIXEL, 90)
