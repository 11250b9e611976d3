"""API keys: make, find, revoke, and the projects they may touch."""

from typing import Any

import orjson
import pytest

from app import db
from app.errors import BadParameter, NameTaken, NotFound, Revoked
from app.models import ApiKey, Login
from app.services import activity, apikeys, logins
from tests.factories import make_key, make_project
from tests.platform import KEY

pytestmark = pytest.mark.usefixtures("database")


def find(value: str) -> str | None:
    with db.reading() as session:
        found = apikeys.find(session, value)
        return None if found is None else str(found.name)


def do(work: Any, *args: Any) -> Any:
    with db.transaction() as session:
        return work(session, *args)


def test_a_key_is_32_hex_digits_and_only_its_hash_is_kept() -> None:
    value = make_key("guest")
    assert (len(value), int(value, 16) > 0, find(value)) == (32, True, "guest")
    with db.reading() as session:
        stored = session.query(ApiKey).filter_by(name="guest").one()
        assert value not in repr(stored.model_dump())


def test_a_wrong_key_is_not_found() -> None:
    assert [
        find(value) for value in ("", "x", KEY[:-1], KEY.upper() + "x", apikeys.digest(KEY), "é" * 40)
    ] == [None] * 6


def test_a_revoked_key_is_not_found() -> None:
    value = make_key("guest")
    do(apikeys.revoke, "guest", "somebody")
    assert find(value) is None
    for name in ("guest", "nobody"):
        with pytest.raises(NotFound, match=f"no valid key named '{name}'"):
            do(apikeys.revoke, name, "somebody")


@pytest.mark.parametrize("value", ["short", "x" * 129, "with space 123456", "é" * 16, "a:b" * 8, ""])
def test_a_value_that_is_no_key(value: str) -> None:
    with pytest.raises(BadParameter, match="16 to 128"):
        make_key("guest", value=value)


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(BadParameter, match="1 to 100"):
        make_key(name)


def test_names_and_values_are_given_once() -> None:
    value = make_key("guest")
    for name, again in (("guest", None), ("other", value)):
        with pytest.raises(NameTaken):
            make_key(name, value=again)


def test_a_key_for_a_project_that_does_not_exist() -> None:
    with pytest.raises(NotFound, match="project 9 does not exist"):
        make_key("guest", projects=[1, 9])
    with db.reading() as session:
        assert [key.name for key, _ in apikeys.listing(session)] == ["admin"]


def test_rights() -> None:
    make_project(2)
    make_project(3)
    values = [make_key("none"), make_key("two", projects=[3, 1, 3]), make_key("all", admin=True)]
    with db.reading() as session:
        keys = [apikeys.find(session, value) for value in values]
        assert [apikeys.projects_of(session, key.id, key.admin) for key in keys if key] == [
            [],
            [1, 3],
            [1, 2, 3],
        ]
        may = [[apikeys.may_touch(session, key.id, key.admin, p) for p in (1, 2, 9)] for key in keys if key]
        assert may == [[False] * 3, [True, False, False], [True, True, False]]
        assert [(key.name, found) for key, found in apikeys.listing(session)][2:] == [
            ("none", []),
            ("two", [1, 3]),
        ]


def test_the_admin_key_is_replaced_by_a_new_value() -> None:
    do(apikeys.ensure_admin, KEY)
    new = "b" * 32
    do(apikeys.ensure_admin, new)
    assert (find(KEY), find(new)) == (None, "admin")


def test_a_revoked_admin_key_does_not_come_back() -> None:
    do(apikeys.revoke, "admin", "somebody")
    with pytest.raises(Revoked):
        do(apikeys.ensure_admin, KEY)
    new = "b" * 32
    do(apikeys.ensure_admin, new)
    assert (find(KEY), find(new)) == (None, "admin")


def test_an_admin_key_of_another_name_stays_as_it_is() -> None:
    value = make_key("boss", admin=True)
    do(apikeys.ensure_admin, value)
    assert (find(value), find(KEY)) == ("boss", "admin")


def test_a_guest_key_does_not_become_the_admin_key_unnoticed() -> None:
    value = make_key("guest")
    with pytest.raises(NameTaken):
        do(apikeys.ensure_admin, value)
    assert (find(value), find(KEY)) == ("guest", "admin")


def test_a_new_key_takes_the_place_of_the_old_one_and_ends_all_sign_ins() -> None:
    old = make_key("guest", projects=[1])
    do(logins.begin, user("guest").id)
    new = do(apikeys.rotate, "guest", "somebody")
    assert (find(old), find(new), len(new)) == (None, "guest", 32)
    with db.reading() as session:
        assert session.query(Login).count() == 0
        assert apikeys.projects_of(session, user("guest").id or 0, False) == [1]


def test_a_revoked_key_is_not_renewed_and_signed_out() -> None:
    make_key("guest")
    do(logins.begin, user("guest").id)
    do(apikeys.revoke, "guest", "somebody")
    for name in ("guest", "nobody"):
        with pytest.raises(NotFound, match="no valid key"):
            do(apikeys.rotate, name, "somebody")
    with db.reading() as session:
        assert session.query(Login).count() == 0


def user(name: str) -> ApiKey:
    with db.reading() as session:
        return session.query(ApiKey).filter_by(name=name).one()


def members(project: int = 1) -> list[tuple[str, bool, bool]]:
    """Name, is it an admin, is it a member."""
    with db.reading() as session:
        return [(row.name, row.admin, row.member) for row in apikeys.members(session, project)]


def test_members_are_added_and_removed() -> None:
    make_key("guest")
    make_key("gone", projects=[1])
    do(apikeys.revoke, "gone", "somebody")
    for _ in range(2):
        do(apikeys.add_member, 1, "guest", "admin")
    assert members() == [("admin", True, False), ("guest", False, True)]
    assert members(make_project(2)) == [("admin", True, False)]
    do(apikeys.remove_member, 1, "guest", "admin")
    assert members() == [("admin", True, False)]
    with pytest.raises(NotFound, match="no member 'guest'"):
        do(apikeys.remove_member, 1, "guest", "admin")
    with db.reading() as session:
        events = [orjson.loads(row.event) for row in activity.part(session, 1, 10).events]
    assert events == [
        {"event": "member:removed", "user": "admin", "member": "guest"},
        {"event": "member:added", "user": "admin", "member": "guest"},
        {"event": "key:revoked", "user": "somebody", "name": "gone"},
    ]


@pytest.mark.parametrize("name", ["gone", "nobody", "", "gu\0est"])
def test_who_has_no_valid_key_becomes_no_member(name: str) -> None:
    make_key("gone")
    do(apikeys.revoke, "gone", "somebody")
    with pytest.raises(NotFound, match="no valid key"):
        do(apikeys.add_member, 1, name, "admin")


@pytest.mark.parametrize("name", ["a\nb", "a\0b", " a", "a "])
def test_a_name_that_could_not_be_read(name: str) -> None:
    with pytest.raises(BadParameter, match="control characters"):
        make_key(name)
