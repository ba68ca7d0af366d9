from pipeline.paths import RunPaths
from pipeline.progress import StageProgress, bar, clock
from tests.unit.pipeline.test_runner import generate


def test_clock():
    assert [clock(s) for s in (0, 42.4, 725, 11220)] == ["0:00", "0:42", "12:05", "3:07:00"]


def test_a_bar_leaves_files_and_pipes_alone(capsys):
    assert list(bar([3, 1, 2], "judging")) == [3, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_units_count_as_their_records_appear(tmp_path):
    paths = RunPaths(tmp_path)
    generate(paths, (0,))
    progress = StageProgress(paths, "generate", 3, [1, 2])
    assert progress.poll() is None
    generate(paths, (1,))
    line = progress.poll()
    assert line is not None
    assert line.split()[:3] == ["generate", "2/3", "units"]
    assert "ETA" in line
    assert progress.poll() is None
    generate(paths, (2,))
    assert "3/3 units" in (progress.poll() or "")


def test_a_stale_record_counts_only_when_it_is_written_again(tmp_path):
    paths = RunPaths(tmp_path)
    generate(paths, (0,))
    progress = StageProgress(paths, "generate", 1, [0])
    assert progress.poll() is None
    paths.done("generate", 0).unlink()
    generate(paths, (0,))
    assert "1/1 units" in (progress.poll() or "")


def test_a_stage_whose_units_are_all_done_says_nothing_more(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.progress.HEARTBEAT_S", 0.0)
    paths = RunPaths(tmp_path)
    progress = StageProgress(paths, "generate", 1, [0])
    assert "running for" in (progress.poll() or "")
    generate(paths, (0,))
    assert "took" in (progress.poll() or "")
    assert progress.poll() is None
