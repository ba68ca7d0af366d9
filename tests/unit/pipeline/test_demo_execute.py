"""Steps run as child processes: records, logs, failures, estimates."""

import os
from pathlib import Path

import pytest

from pipeline.contracts.errors import ContractError, StageError
from pipeline.demo.console import duration, remaining_s
from pipeline.demo.execute import Command, Progress, Step, is_done, run_step
from pipeline.demo.layout import DemoPaths
from pipeline.fileio import read_json


def step(*commands: Command, outputs: tuple[Path, ...] = (), digest: str = "d1") -> Step:
    return Step(
        name="work",
        title="work",
        commands=commands,
        digest=digest,
        outputs=outputs,
        expected_s=1.0,
        progress=lambda: Progress(0.5, "half way"),
    )


def python(code: str, answer: Path | None = None) -> Command:
    return Command(argv=("-c", code), answer=answer)


def test_a_step_is_done_once_its_record_and_outputs_are_there(tmp_path):
    paths, out = DemoPaths(tmp_path), tmp_path / "made.txt"
    work = step(python(f"open({str(out)!r}, 'w').close()"), outputs=(out,))
    assert not is_done(paths, work)
    run_step(paths, work, lambda progress: None)
    assert is_done(paths, work)
    assert read_json(paths.record("work"))["resumed"] is False
    out.unlink()
    assert not is_done(paths, work)


def test_the_record_of_other_settings_is_refused_with_the_way_out(tmp_path):
    paths = DemoPaths(tmp_path)
    run_step(paths, step(python("pass")), lambda progress: None)
    with pytest.raises(ContractError, match="--fresh"):
        is_done(paths, step(python("pass"), digest="d2"))


def test_a_failing_command_shows_the_end_of_its_log_and_leaves_no_record(tmp_path):
    paths = DemoPaths(tmp_path)
    with pytest.raises(StageError, match="no such model: nirvana") as caught:
        run_step(paths, step(python("print('line\\n' * 50); raise SystemExit('no such model: nirvana')")), lambda progress: None)
    assert caught.value.exit_code == 1
    assert str(paths.log("work")) in str(caught.value)
    assert not paths.record("work").exists()


def test_a_step_that_does_not_write_what_it_promised_fails(tmp_path):
    with pytest.raises(StageError, match=r"absent\.txt"):
        run_step(DemoPaths(tmp_path), step(python("pass"), outputs=(tmp_path / "absent.txt",)), lambda progress: None)


def test_the_last_line_of_output_becomes_the_answer(tmp_path):
    answer = tmp_path / "answer.json"
    run_step(DemoPaths(tmp_path), step(python("print('noise'); print('{\"map@10\": 0.5}')", answer)), lambda progress: None)
    assert read_json(answer) == {"map@10": 0.5}


def test_an_answer_that_is_no_json_fails(tmp_path):
    with pytest.raises(StageError, match="line of JSON"):
        run_step(DemoPaths(tmp_path), step(python("print('noise')", tmp_path / "answer.json")), lambda progress: None)


def test_a_second_attempt_is_recorded_as_resumed(tmp_path):
    paths = DemoPaths(tmp_path)
    with pytest.raises(StageError):
        run_step(paths, step(python("raise SystemExit(3)")), lambda progress: None)
    run_step(paths, step(python("pass")), lambda progress: None)
    assert read_json(paths.record("work"))["resumed"] is True


def test_interrupting_a_step_ends_its_child_and_leaves_no_record(tmp_path):
    paths, pid_file = DemoPaths(tmp_path), tmp_path / "pid"
    code = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    def interrupt(progress: Progress) -> None:
        if pid_file.exists() and pid_file.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_step(paths, step(python(code)), interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert not paths.record("work").exists()


def test_durations_read_well():
    assert [duration(s) for s in (0.4, 59.4, 60, 185)] == ["0 s", "59 s", "1 min 00 s", "3 min 05 s"]


def test_the_estimate_follows_what_was_measured():
    assert remaining_s(0, 300, 0) == 300  # nothing measured: the expectation
    assert remaining_s(100, 200, 100) == 200  # as fast as expected
    assert 300 < remaining_s(100, 200, 200) < 400  # twice as slow, not yet trusted fully
    assert remaining_s(300, 0, 500) == 0
