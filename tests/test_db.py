"""Whose turn it is to write, and who may read."""

import threading
import time
from pathlib import Path

import pytest

from app import db
from app.settings import settings


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


def test_no_other_user_of_the_machine_sees_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)  # so it is here
    monkeypatch.setenv("CRAWLDOCK_DATA_DIR", str(tmp_path / "new" / "data"))
    settings.cache_clear()
    db.engine.cache_clear()
    db.engine().dispose()
    assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == 0o700
    settings.cache_clear()
    db.engine.cache_clear()
