"""The page of a training: everything inside, nothing loaded, texts escaped, right answers marked right, and a page without answers too."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pipeline.cli import passerby
from pipeline.contracts.errors import ConfigError
from pipeline.entry import call
from pipeline.hand_over import training_report_command
from pipeline.signals import StopRequest
from pretrain.evaluate import evaluate
from pretrain.report.collect import answered, collect, history
from pretrain.report.write import content, duration, write_report
from pretrain.train import train
from tests.unit.pretrain.samples import make_shards, tiny_config

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    shards = make_shards(folder / "shards", train=8, val=7)
    train(tiny_config(shards, folder / "<b>run", train={"steps": 3, "validate_every": 1}), StopRequest())
    return folder / "<b>run"


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    write_report(run, run / "report.html", 3)
    return (run / "report.html").read_text(encoding="utf-8")


def test_the_page_loads_nothing_and_escapes_names(page: str) -> None:
    assert not re.search(r"https?://|<script|<link|<b>run", page)
    assert "&lt;b&gt;run" in page
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'src="([^"]*)"', page))


def test_all_losses_and_all_quantities_have_a_curve(page: str) -> None:
    for name in ("itc loss", "itm loss", "mlm loss", "iac loss", "iam loss", "mam loss", "total loss"):
        assert f'aria-label="{name.split()[0].upper()} loss' in page
    for name in (
        "Accuracy of ITM and IAM",
        "Gradient norm",
        "Learning rate",
        "Temperature of ITC",
        "Images per second",
        "Waiting for data",
    ):
        assert f'aria-label="{name} over the training steps' in page
    assert "Model FLOPs utilisation" not in page  # not logged by this training
    assert 'aria-label="Recall, re-ranked over the training steps: Recall@1' in page


def test_queries_show_what_the_model_ranks_first_and_mark_the_right_person(run: Path, page: str) -> None:
    training = collect(run, 3)
    assert training.answers is not None
    assert training.answers.scores == evaluate(training.config, run / "checkpoint")
    scores = training.answers.scores["retrieval" if training.answers.reranked else "similarity"]
    assert scores["recall@1"] == max(training.answers.scores[name]["recall@1"] for name in ("retrieval", "similarity"))
    everyone = answered(training.config, run / "checkpoint", 7).queries
    assert all(len(query.hits) == 5 for query in everyone)
    hit_first = sum(query.hits[0].right for query in everyone) / 7
    assert hit_first == pytest.approx(scores["recall@1"])
    assert hit_first <= sum(any(hit.right for hit in query.hits) for query in everyone) / 7 == pytest.approx(scores["recall@5"])
    shown = sum(hit.right for query in training.answers.queries for hit in query.hits)
    assert (page.count("✓ right"), page.count("✗ wrong")) == (shown, 15 - shown)


def test_a_training_whose_checkpoint_or_shards_are_gone_still_has_a_page(run: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "metrics.jsonl"):
        shutil.copyfile(run / name, tmp_path / name)
    write_report(tmp_path, tmp_path / "report.html", 3)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No answers: " in text
    assert "is no checkpoint" in text
    assert "Recall@1, re-ranked" in text  # the logged one


def test_mfu_is_shown_where_it_was_logged(run: Path, tmp_path: Path) -> None:
    shutil.copyfile(run / "config.yaml", tmp_path / "config.yaml")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({**line, "mfu": 0.35}) + "\n" for line in lines))
    plots = content(collect(tmp_path, 0))["health"]
    assert [plot["note"] for plot in plots if plot["name"] == "Model FLOPs utilisation"] == ["35 → 35 %"]
    assert history(lines, "mfu") == ([], [])


def test_passerby_report_takes_the_folder_of_a_training(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("pipeline.children.hand_over", lambda command: asked.append(command) or 0)
    assert call(passerby, ["report", str(run), "--out", str(tmp_path / "r.html")], "passerby") == 0
    assert asked == [training_report_command(run, tmp_path / "r.html")]


def test_a_folder_without_a_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no training with a logged step"):
        collect(tmp_path, 0)


@pytest.mark.parametrize(("seconds", "text"), [(9.4, "9 s"), (95, "1.6 min"), (7300, "2.0 h"), (200_000, "2.3 d")])
def test_durations_are_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text
