"""A project's name, settings and members."""

import re
from typing import Any

import pytest

from app import db
from app.services import apikeys, projects
from tests.factories import everything, make_key, make_project
from tests.ui.conftest import Browser

HERE = "/p/1/settings"


def settings() -> dict[str, Any]:
    with db.reading() as session:
        return projects.settings(session, 1)


def members(project: int = 1) -> set[str]:
    with db.reading() as session:
        return {row.name for row in apikeys.members(session, project)}


def valid(key: str) -> str | None:
    with db.reading() as session:
        found = apikeys.find(session, key)
        return None if found is None else str(found.name)


def shown(answer: Any) -> str:
    """The key that a page shows."""
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    found = re.search(r'<code id="fresh">([0-9a-f]{32})<', answer.text)
    assert found is not None
    return found.group(1)


def test_the_project_is_renamed(guest: Browser) -> None:
    assert "is now called Täglich" in guest.follow(guest.post(f"{HERE}/name", name=" Täglich "))
    for bad in ("", " ", "x" * 101, "a\nb"):
        answer = guest.post(f"{HERE}/name", name=bad)
        assert (answer.status_code, 'role="alert"' in answer.text) == (400, True)


def test_settings_are_json_values(guest: Browser) -> None:
    for name, text in (("a", '{"b": [1, null]}'), ("text", '"x"'), ("none", "null"), ("a b/c", "1.5")):
        assert guest.post(f"{HERE}/set", setting=name, value=text).status_code == 303
    assert settings() == {"a": {"b": [1, None]}, "text": "x", "none": None, "a b/c": 1.5}
    page = guest.get(HERE).text
    assert all(text in page.replace("&#34;", '"') for text in ('{"b":[1,null]}', '"x"', ">null<"))
    guest.post(f"{HERE}/unset", setting="a")
    assert set(settings()) == {"text", "none", "a b/c"}


@pytest.mark.parametrize(
    ("name", "value"), [("a", "x"), ("a", ""), ("", "1"), ("x" * 256, "1"), ("a", "[" * 2000 + "]" * 2000)]
)
def test_a_bad_setting_changes_nothing_and_stays_in_the_form(guest: Browser, name: str, value: str) -> None:
    before = everything()
    answer = guest.post(f"{HERE}/set", setting=name, value=value)
    assert (answer.status_code, 'role="alert"' in answer.text) == (400, True)
    assert everything() == before


def test_a_new_user_has_a_key_that_is_shown_once(browser: Browser) -> None:
    key = shown(browser.post(f"{HERE}/members/new", user="joe"))
    assert (valid(key), "joe" in members()) == ("joe", True)
    assert key not in browser.get(HERE).text
    admin = shown(browser.post(f"{HERE}/members/new", user="root", admin="1"))
    with db.reading() as session:
        found = apikeys.find(session, admin)
        assert found is not None
        assert found.admin


@pytest.mark.parametrize(("user", "status"), [("admin", 409), ("", 400), ("x" * 101, 400), ("a\nb", 400)])
def test_a_user_that_cannot_be_made(browser: Browser, user: str, status: int) -> None:
    before = everything()
    answer = browser.post(f"{HERE}/members/new", user=user)
    assert (answer.status_code, "fresh" in answer.text) == (status, False)
    assert everything() == before


def test_a_user_who_has_a_key_is_added_and_removed(browser: Browser) -> None:
    make_key("joe")
    assert "joe may touch this project" in browser.follow(browser.post(f"{HERE}/members/add", user="joe"))
    asked = browser.post(f"{HERE}/members/remove", user="joe")
    assert ("Remove joe from the project?" in asked.text, "joe" in members()) == (True, True)
    browser.post(f"{HERE}/members/remove", user="joe", confirmed="1")
    assert "joe" not in members()
    answer = browser.post(f"{HERE}/members/add", user="nobody")
    assert (answer.status_code, "no valid key named" in answer.text) == (404, True)


def test_a_user_gets_a_new_key(browser: Browser) -> None:
    old = make_key("joe", projects=[1])
    assert "Make a new key for joe?" in browser.post(f"{HERE}/members/key", user="joe").text
    assert valid(old) == "joe"
    new = shown(browser.post(f"{HERE}/members/key", user="joe", confirmed="1"))
    assert (valid(old), valid(new)) == (None, "joe")


def test_a_key_is_revoked_but_not_ones_own(browser: Browser) -> None:
    key = make_key("joe", projects=[1])
    browser.post(f"{HERE}/members/revoke", user="joe")
    assert valid(key) == "joe"
    browser.post(f"{HERE}/members/revoke", user="joe", confirmed="1")
    assert (valid(key), "joe" in members()) == (None, False)
    assert browser.post(f"{HERE}/members/revoke", user="admin", confirmed="1").status_code == 400


@pytest.mark.parametrize("what", ["add", "new", "key", "remove", "revoke"])
def test_a_member_sees_members_but_changes_none(guest: Browser, what: str) -> None:
    make_key("joe")
    before = everything()
    page = guest.get(HERE).text
    assert ("(you)" in page, "Make a key" in page, "Revoke" in page) == (True, False, False)
    for user in ("joe", "admin", "guest", "new"):
        assert guest.post(f"{HERE}/members/{what}", user=user, confirmed="1").status_code == 403
    assert everything() == before


def test_others_are_kept_out(guest: Browser) -> None:
    make_project(2)
    before = everything()
    assert guest.get("/p/2/settings").status_code == 403
    for path, fields in (("name", {"name": "x"}), ("set", {"setting": "a", "value": "1"})):
        assert guest.post(f"/p/2/settings/{path}", **fields).status_code == 403
    assert everything() == before
