"""One's own password and key."""

import re

import pytest

from app import db
from app.services import apikeys, logins, passwords
from tests.factories import make_key
from tests.ui.conftest import Browser

GOOD = "correct horse"


def test_a_password_is_set_and_signs_in(guest: Browser) -> None:
    assert "You have none" in guest.get("/account").text
    assert "Your password was set" in guest.follow(guest.post("/account/password", new=GOOD, again=GOOD))
    found = passwords.check("guest", GOOD)
    assert found is not None
    assert found.name == "guest"
    guest.post("/logout")
    assert guest.sign_in(GOOD, "guest").headers["location"] == "/"


@pytest.mark.parametrize(
    ("new", "again", "words"),
    [
        (GOOD, "other one", "differ"),
        ("short", "short", "8 to 1024"),
        ("", "", "8 to 1024"),
        ("x" * 1025,) * 2 + ("1024",),
    ],
)
def test_a_bad_password_is_refused(guest: Browser, new: str, again: str, words: str) -> None:
    answer = guest.post("/account/password", new=new, again=again)
    assert (answer.status_code, words in answer.text) == (400, True)
    assert passwords.check("guest", new) is None


def test_a_new_key_keeps_this_browser_signed_in_and_no_other(guest: Browser) -> None:
    with db.transaction() as session:
        elsewhere = logins.begin(session, key_id("guest"))
    assert "Make a new key?" in guest.post("/account/key").text
    page = guest.post("/account/key", confirmed="1")
    key = re.search(r'<code id="fresh">([0-9a-f]{32})<', page.text)
    assert key is not None
    with db.reading() as session:
        assert apikeys.find(session, key.group(1)) is not None
        assert logins.find(session, elsewhere) is None
    assert guest.get("/account").status_code == 200


def key_id(name: str) -> int:
    with db.reading() as session:
        return next(key.id or 0 for key, _ in apikeys.listing(session) if key.name == name)


def test_the_key_that_the_platform_sets_is_changed_there(browser: Browser) -> None:
    assert "CRAWLDOCK_API_KEY" in browser.get("/account").text
    assert browser.post("/account/key", confirmed="1").status_code == 409


def test_a_stranger_has_no_account(stranger: Browser) -> None:
    make_key("guest")
    assert stranger.get("/account").headers["location"].startswith("/login")


def test_whoever_has_a_password_must_know_it_to_change_it(guest: Browser) -> None:
    guest.post("/account/password", new=GOOD, again=GOOD)
    refused = guest.post("/account/password", new=GOOD + "2", again=GOOD + "2", old="wrong")
    assert (refused.status_code, "not your present password" in refused.text) == (400, True)
    assert passwords.check("guest", GOOD) is not None
    guest.post("/account/password", new=GOOD + "2", again=GOOD + "2", old=GOOD)
    assert passwords.check("guest", GOOD + "2") is not None
