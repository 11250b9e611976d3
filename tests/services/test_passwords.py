"""Passwords: stored as a hash, checked without telling who exists."""

import pytest
from sqlalchemy import select
from sqlmodel import col

from app import db
from app.errors import BadParameter, NotFound
from app.models import ApiKey
from app.services import apikeys, passwords
from tests.factories import make_key

pytestmark = pytest.mark.usefixtures("database")

GOOD = "correct horse"


def set_password(name: str, password: str | None) -> None:
    stored = None if password is None else passwords.hashed(password)
    with db.transaction() as session:
        passwords.store(session, name, stored, "somebody")


def checked(name: str, password: str) -> str | None:
    found = passwords.check(name, password)
    return None if found is None else str(found.name)


def test_only_the_right_password_is_its_users() -> None:
    make_key("guest")
    set_password("guest", GOOD)
    assert checked("guest", GOOD) == "guest"
    assert [checked("guest", wrong) for wrong in ("", "Correct horse", GOOD + " ", "x" * 2000)] == [None] * 4
    assert (checked("admin", GOOD), checked("nobody", GOOD), checked("gu\0est", GOOD)) == (None, None, None)


def test_nobody_signs_in_with_the_password_that_stands_for_none() -> None:
    make_key("guest")
    assert (checked("guest", "nobody"), checked("who", "nobody")) == (None, None)


def test_of_a_password_only_its_hash_is_kept_and_no_two_are_alike() -> None:
    make_key("guest")
    set_password("guest", GOOD)
    set_password("admin", GOOD)
    with db.reading() as session:
        stored = session.scalars(select(col(ApiKey.password))).all()
    assert len(set(stored)) == 2
    assert all(each.startswith("$argon2id$") and GOOD not in each for each in stored if each)


def test_a_password_goes_with_another_one_with_none_and_with_the_key() -> None:
    make_key("guest")
    set_password("guest", GOOD)
    set_password("guest", "another one")
    assert (checked("guest", GOOD), checked("guest", "another one")) == (None, "guest")
    with db.transaction() as session:
        apikeys.revoke(session, "guest", "somebody")
    assert checked("guest", "another one") is None
    with pytest.raises(NotFound):
        set_password("guest", GOOD)


def test_a_user_without_a_password_signs_in_with_the_key_alone() -> None:
    set_password("admin", GOOD)
    set_password("admin", None)
    assert checked("admin", GOOD) is None


def test_a_password_that_is_too_short_or_too_long_is_refused() -> None:
    for bad in ("", "x" * 7, "x" * 1025):
        with pytest.raises(BadParameter, match="8 to 1024 characters"):
            passwords.hashed(bad)
    for good in ("x" * 8, "x" * 1024, "päss wörd\0\ud800"):
        assert passwords.hashed(good)
