"""Whose turn it is to write."""

import threading
import time

import pytest

from app import db


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_who_writes_again_waits_for_who_was_waiting(database: str) -> None:
    order = []

    def other() -> None:
        with db.transaction():
            order.append("other")

    thread = threading.Thread(target=other)
    with db.transaction():
        thread.start()
        end = time.monotonic() + 20
        while not db._next_writer.locked() and time.monotonic() < end:
            time.sleep(0.001)
    with db.transaction():
        order.append("again")
    thread.join()
    assert order == ["other", "again"]
