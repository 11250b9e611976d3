"""When a key was last used."""

from app import db
from app.models import ApiKey
from app.services import apikeys, keyuse
from tests.factories import make_key


def key_id(name: str) -> int:
    with db.reading() as session:
        return session.query(ApiKey).filter_by(name=name).one().id or 0


def used(name: str) -> int | None:
    with db.reading() as session:
        return session.query(ApiKey).filter_by(name=name).one().used_time


def test_uses_are_written_down_together(database: str) -> None:
    for name in ("guest", "other", "idle"):
        make_key(name)
    keyuse.note(key_id("guest"))
    keyuse.note(key_id("other"))
    assert used("guest") is None
    keyuse.write()
    assert (used("guest") is not None, used("other") is not None, used("idle")) == (True, True, None)


def test_a_time_that_is_recent_stays_and_an_old_one_is_replaced(database: str) -> None:
    make_key("guest")
    for time in (1, None):
        if time is not None:
            with db.transaction() as session:
                session.query(ApiKey).filter_by(name="guest").update({"used_time": time})
        before = used("guest")
        keyuse.note(key_id("guest"))
        keyuse.write()
        assert (used("guest") != before) is (time is not None)


def test_a_key_that_is_gone_and_nothing_to_write(database: str) -> None:
    keyuse.note(99)
    keyuse.write()
    keyuse.write()
    assert used("admin") is None


def test_what_is_noted_last_is_written_at_the_end_of_the_process(database: str) -> None:
    with keyuse.noting():
        with db.reading() as session:
            apikeys.projects_of(session, key_id("admin"), True)
        keyuse.note(key_id("admin"))
    assert used("admin") is not None
