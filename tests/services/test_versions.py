"""Versions: store, build, make current, replace, delete; and dependency eggs."""

from contextlib import suppress
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app import db
from app.errors import DatabaseBusy, NotFound, Refused
from app.models import Project, Version
from app.services import activity, projects, versions
from tests.factories import at_once, make_job, make_project, make_version, pending_version

pytestmark = pytest.mark.usefixtures("database", "sent")


def do(work: Any, *args: Any) -> Any:
    with db.transaction() as session:
        return work(session, *args)


def version(version_id: int) -> Version:
    with db.reading() as session:
        found = session.get(Version, version_id)
        assert found is not None
        session.expunge(found)
        return found


def current() -> int | None:
    with db.reading() as session:
        return session.get_one(Project, 1).version_id


def spiders(project: int = 1) -> dict[str, int]:
    with db.reading() as session:
        return {found.name: found.number for found in projects.spiders(session, project)}


def names() -> list[str]:
    with db.reading() as session:
        return [found.name for found in versions.listing(session, 1)]


def change(version_id: int, **columns: Any) -> None:
    with db.transaction() as session:
        session.query(Version).filter_by(id=version_id).update(columns)


def test_a_new_version_is_announced_to_a_builder(sent: list[tuple[str, int]]) -> None:
    version_id = pending_version(requirements="requests")
    assert sent == [("build_version", 0)]
    assert (version(version_id).state, version(version_id).requirements) == ("pending", "requests")
    assert (current(), names()) == (None, [])


def test_a_build_is_taken_once() -> None:
    version_id = pending_version()
    assert do(versions.claim_build, version_id) is not None
    assert do(versions.claim_build, version_id) is None
    assert do(versions.claim_build, 99) is None


def test_a_built_version_is_the_current_one() -> None:
    version_id = make_version("1", ["b", "a"])
    assert (current(), names(), version(version_id).settings_module) == (version_id, ["1"], "proj.settings")
    assert spiders() == {"a": 2, "b": 3}  # "quotes" keeps number 1


def test_spiders_that_return_keep_their_number() -> None:
    make_version("1", ["a"])
    make_version("2", [])
    assert spiders() == {}
    make_version("3", ["b", "a", "quotes"])
    assert spiders() == {"a": 2, "b": 3, "quotes": 1}


def test_a_failed_build_leaves_the_current_version() -> None:
    kept = make_version("1", ["a"])
    failed = pending_version("2")
    do(versions.claim_build, failed)
    assert do(versions.fail, failed, "no such package")
    assert (version(failed).state, version(failed).error) == ("failed", "no such package")
    assert (current(), names(), spiders()) == (kept, ["1"], {"a": 2})


def test_an_older_build_that_ends_later_is_not_current() -> None:
    slow = pending_version("1")
    do(versions.claim_build, slow)
    quick = make_version("2", ["b"])
    assert do(versions.activate, slow, "proj.settings", ["a"])
    assert (current(), names(), spiders()) == (quick, ["1", "2"], {"b": 2})


def test_the_same_name_again_replaces_the_version() -> None:
    old = make_version("1", ["a"])
    failed = pending_version("1")
    do(versions.claim_build, failed)
    do(versions.fail, failed, "broken")
    assert names() == ["1"]
    new = make_version("1", ["b"])
    with db.reading() as session:
        assert [session.get(Version, found) is None for found in (old, failed, new)] == [True, True, False]
    assert (current(), names(), spiders()) == (new, ["1"], {"b": 3})


def test_who_does_not_hold_the_build_changes_nothing() -> None:
    version_id = pending_version()
    assert not do(versions.activate, version_id, "proj.settings", ["a"])
    assert not do(versions.fail, version_id, "error")
    assert not do(versions.log, version_id, "text")
    assert (version(version_id).state, version(version_id).log, current()) == ("pending", "", None)


def test_the_log_keeps_its_end_and_the_lease_is_extended() -> None:
    version_id = pending_version()
    do(versions.claim_build, version_id)
    change(version_id, lease_time=5)
    assert do(versions.log, version_id, "x" * versions.LOG_LENGTH + "the end")
    assert (len(version(version_id).log), version(version_id).log[-7:]) == (versions.LOG_LENGTH, "the end")
    do(versions.reap_builds)
    assert version(version_id).state == "building"


def test_a_builder_that_died_fails_its_build() -> None:
    version_id = pending_version()
    do(versions.claim_build, version_id)
    change(version_id, lease_time=5)
    do(versions.reap_builds)
    assert (version(version_id).state, version(version_id).error) == (
        "failed",
        "the builder died; deploy again",
    )
    assert not do(versions.activate, version_id, "proj.settings", ["a"])


def test_a_version_that_no_builder_took_waits() -> None:
    old, _ = pending_version("1"), pending_version("2")
    change(old, created_time=5)
    with db.reading() as session:
        assert list(versions.waiting(session)) == [old]


def test_progress() -> None:
    version_id = make_version("1", ["a"])
    with db.reading() as session:
        found = versions.progress(session, version_id)
        assert (found.state, found.log, found.error, found.spiders) == ("ready", "", None, ["a"])
        with pytest.raises(NotFound, match="deleted while it was built"):
            versions.progress(session, 99)


def test_removing_the_current_version_brings_back_the_newest_that_is_left() -> None:
    first, _, _ = make_version("1", ["a"]), make_version("2", ["b"]), make_version("3", ["c"])
    do(versions.remove, 1, "2")
    assert spiders() == {"c": 4}
    do(versions.remove, 1, "3")
    assert (current(), names(), spiders()) == (first, ["1"], {"a": 2})
    do(versions.remove, 1, "1")
    assert (current(), names(), spiders()) == (None, [], {})


def test_without_a_version_jobs_wait_and_none_is_scheduled() -> None:
    make_version("1")
    make_job()
    do(versions.remove, 1, "1")
    with pytest.raises(NotFound):
        make_job()


def test_removing_what_is_not_there() -> None:
    make_project(2)
    make_version("1")
    for project, name in ((1, "2"), (2, "1")):
        with pytest.raises(NotFound, match=f"project {project} has no version {name}"):
            do(versions.remove, project, name)
    assert names() == ["1"]


def test_a_version_that_is_built_now_is_not_removed() -> None:
    version_id = pending_version("1")
    do(versions.claim_build, version_id)
    with pytest.raises(NotFound):
        do(versions.remove, 1, "1")
    assert do(versions.activate, version_id, "proj.settings", ["a"])


def test_the_code_of_a_version_comes_with_the_projects_eggs() -> None:
    do(versions.add_egg, 1, "lib", "1.0", b"library")
    version_id = make_version("1")
    with db.reading() as session:
        found, eggs = versions.code(session, version_id)
        assert (found.name, [name for name, _ in eggs]) == ("1", ["__main__", "lib"])
        assert [versions.egg_data(session, sha) for _, sha in eggs] == [b"code of 1", b"library"]


def test_code_and_eggs_that_are_gone() -> None:
    with db.reading() as session:
        with pytest.raises(NotFound, match="deleted before the job started"):
            versions.code(session, 99)
        with pytest.raises(NotFound, match="deleted before it could be used"):
            versions.egg_data(session, "0" * 64)


def test_eggs_are_replaced_listed_and_removed() -> None:
    for name, number in (("b", "1"), ("a", "1"), ("b", "2")):
        do(versions.add_egg, 1, name, number, b"")
    with db.reading() as session:
        assert [tuple(found) for found in versions.eggs(session, 1)] == [("a", "1"), ("b", "2")]
        assert versions.eggs(session, 2) == []
    do(versions.remove_egg, 1, "b")
    with pytest.raises(NotFound, match="project 1 has no egg b"):
        do(versions.remove_egg, 1, "b")


def test_the_name_of_the_projects_own_egg_is_taken() -> None:
    with pytest.raises(Refused, match="__main__"):
        do(versions.add_egg, 1, "__main__", "1", b"")


def test_the_bundle() -> None:
    with db.reading() as session:
        assert versions.bundle(session, 1) == ("", [])
    do(versions.add_egg, 1, "lib", "1", b"library")
    with db.reading() as session:
        assert versions.bundle(session, 1) == ("", [("lib", b"library")])
    make_version("1", requirements="requests")
    with db.reading() as session:
        assert versions.bundle(session, 1) == ("requests", [("__main__", b"code of 1"), ("lib", b"library")])


def test_what_postgres_cannot_store_is_no_reason_to_lose_the_story() -> None:
    version_id = pending_version()
    do(versions.claim_build, version_id)
    assert do(versions.log, version_id, "a\0b")
    assert do(versions.fail, version_id, "boom\0")
    assert (version(version_id).log, version(version_id).error) == ("a\ufffdb", "boom\ufffd")


def make_current(version_id: int, project: int = 1) -> None:
    do(versions.make_current, project, version_id, "joe")


def told() -> list[tuple[str, str, str]]:
    """Event, user and version of what was noted of project 1, the oldest first."""
    with db.reading() as session:
        events = [orjson.loads(row.event) for row in activity.part(session, 1, 100).events]
    return [(event["event"], event["user"], event["version"]) for event in events[::-1]]


def test_going_back_makes_an_earlier_versions_spiders_those_that_run() -> None:
    first = make_version("1", ["quotes", "old"])
    make_version("2", ["quotes", "new"])
    for _ in range(2):
        make_current(first)
    assert (current(), set(spiders())) == (first, {"quotes", "old"})
    assert told()[-2:] == [("project:version", "admin", "2"), ("project:version", "joe", "1")]


def test_a_deploy_after_going_back_becomes_current() -> None:
    first = make_version("1")
    make_version("2")
    make_current(first)
    third = make_version("3", ["third"])
    assert (current(), set(spiders())) == (third, {"third"})


def test_a_build_that_is_older_than_the_version_left_does_not_undo_going_back() -> None:
    first = make_version("1", ["first"])
    slow = pending_version("2")
    do(versions.claim_build, slow)
    make_version("3", ["third"])
    make_current(first)
    assert do(versions.activate, slow, "proj.settings", ["slow"])
    assert (current(), set(spiders())) == (first, {"first"})


def test_a_build_of_the_same_name_spares_the_version_that_was_gone_back_to() -> None:
    first = make_version("x", ["first"])
    slow = pending_version("x")
    do(versions.claim_build, slow)
    make_version("y", ["third"])
    make_current(first)
    assert do(versions.activate, slow, "proj.settings", ["slow"])
    assert (current(), names(), set(spiders())) == (first, ["x", "x", "y"], {"first"})
    last = make_version("x", ["last"])
    assert (current(), names(), set(spiders())) == (last, ["y", "x"], {"last"})


def test_a_build_that_ends_while_the_current_version_is_deleted_becomes_current(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_version("1", ["first"]), make_version("2")
    new = pending_version("3")
    do(versions.claim_build, new)
    monkeypatch.setattr(db, "BUSY_SECONDS", 0.01)
    listing = versions.listing

    def meanwhile(session: Session, project_id: int) -> Any:
        found = listing(session, project_id)
        # It is let in only if nobody holds the project.
        with suppress(OperationalError, DatabaseBusy), db.transaction() as other:
            if other.get_bind().dialect.name == "postgresql":
                other.execute(text("SET LOCAL lock_timeout = '10ms'"))
            versions.activate(other, new, "proj.settings", ["third"])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(versions, "listing", meanwhile)
        do(versions.remove, 1, "2")
    do(versions.activate, new, "proj.settings", ["third"])
    assert (current(), names(), set(spiders())) == (new, ["1", "3"], {"third"})


def test_a_version_that_was_not_built_cannot_be_gone_back_to() -> None:
    version_id = make_version("1")
    waiting, failed, other = pending_version("2"), pending_version("3"), pending_version("4", make_project(2))
    do(versions.claim_build, failed)
    do(versions.fail, failed, "why")
    for bad, state in ((waiting, "pending"), (failed, "failed")):
        with pytest.raises(Refused, match=f"it is {state}"):
            make_current(bad)
    for bad in (other, 99):
        with pytest.raises(NotFound, match="no version with the id"):
            make_current(bad)
    assert current() == version_id


def test_going_back_while_the_version_is_deleted_leaves_one_that_exists() -> None:
    first, second = make_version("1"), make_version("2")
    works = [lambda: do(versions.remove, 1, "1"), lambda: make_current(first)]
    at_once(2, lambda n: works[n]())
    assert current() == second
