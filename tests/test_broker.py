"""What is told to the broker of a burst of new jobs."""

import threading

import pytest

from app import broker
from tests.platform import until


def test_a_burst_is_told_together_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first job at once, those that come meanwhile by the highest of their priorities."""
    told: list[int] = []
    answers = threading.Event()

    def wake(priority: int) -> None:
        told.append(priority)
        assert answers.wait(30)

    monkeypatch.setattr(broker, "wake", wake)
    waker = broker._Waker()
    waker.announce(2)
    until(lambda: told == [2])
    for priority in (0, 4, 1):
        waker.announce(priority)  # while the broker hangs
    assert told == [2]
    answers.set()
    until(lambda: len(told) > 1)
    waker.announce(3)
    until(lambda: len(told) > 2)
    assert told == [2, 4, 3]
