"""Ctrl-C during work that loses much: the first one asks, the next one stops."""

import os
import signal

import pytest

from pipeline import signals
from pipeline.signals import stop_requests


def test_ctrl_c_asks_first_and_stops_when_pressed_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with stop_requests(interrupts=True) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        assert "Ctrl-C again" in capsys.readouterr().err
        os.kill(os.getpid(), signal.SIGINT)  # the same keystroke, passed on by a launcher
        monkeypatch.setattr(signals, "SAME_KEYSTROKE_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


def test_elsewhere_ctrl_c_stops_at_once() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in the background without it
    try:
        with pytest.raises(KeyboardInterrupt), stop_requests():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
