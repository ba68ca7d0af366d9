import logging

from pipeline.logs import RateLimit, TaskLog, last_lines


def record(message: str, *args: object, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("n", level, "f", 1, message, args, None)


def test_warnings_of_one_kind_are_let_through_five_times_and_then_counted():
    limit = RateLimit(5)
    passed = [limit.filter(record("%s failed", key)) for key in range(8)]
    assert passed == [True] * 5 + [False] * 3
    assert limit.summary() == ["3 more warnings like: %s failed"]
    assert limit.filter(record("another kind"))


def test_errors_and_information_are_never_held_back():
    limit = RateLimit(1)
    assert all(limit.filter(record("same", level=level)) for level in (logging.INFO, logging.ERROR) for _ in range(5))


def test_a_task_log_sums_up_at_the_end_and_leaves_logging_as_it_was(capsys):
    before = list(logging.getLogger().handlers)
    with TaskLog():
        for key in range(9):
            logging.getLogger("stage").warning("%s failed", key)
    assert logging.getLogger().handlers == before
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert "further ones like this are only counted" in lines[4]
    assert lines[5].endswith("4 more warnings like: %s failed")


def test_last_lines_skips_empty_ones_and_what_lies_before_the_start(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"old\na\n\nb\xff\nc\n")
    assert last_lines(path, 2) == ["b\N{REPLACEMENT CHARACTER}", "c"]
    assert last_lines(path, 9, start=4)[0] == "a"
