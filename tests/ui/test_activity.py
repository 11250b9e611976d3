"""What happened in a project."""

import orjson
import pytest

from app import db
from app.services import activity
from tests.factories import make_job, make_project
from tests.ui.conftest import Browser


def add(*events: object) -> None:
    with db.transaction() as session:
        activity.add(session, 1, [orjson.dumps(event) for event in events])


def test_events_are_told_in_words(browser: Browser) -> None:
    key = make_job()
    browser.post("/p/1/settings/name", name="renamed")
    page = browser.get("/p/1/activity").text
    assert f'scheduled <a href="/p/{key}">' in page
    assert "renamed the project to renamed" in " ".join(page.split())


def test_an_event_of_somebodys_own_is_shown_as_it_is(browser: Browser) -> None:
    add({"event": "mine", "user": ["x"], "html": "<b>"}, {"event": ["job:started"], "job": 5}, {})
    add({"event": "job:started", "job": "2/1/1", "user": "them"})
    page = browser.get("/p/1/activity")
    assert page.status_code == 200
    assert ("<b>" in page.text, "&lt;b&gt;" in page.text, 'href="/p/2/1/1"' in page.text) == (
        False, True, False,
    )  # fmt: skip


def test_the_filter_is_the_query_string(browser: Browser) -> None:
    make_job()
    add({"event": "mine", "user": "joe"})
    assert "scheduled <a" not in browser.get("/p/1/activity", user="joe").text
    assert "scheduled <a" in browser.get("/p/1/activity", kind="job:").text
    assert "Nothing of the kind" in browser.get("/p/1/activity", user="nobody").text


def test_pages_go_back_in_time(browser: Browser) -> None:
    add(*({"event": f"n{n}"} for n in range(103)))
    first = browser.get("/p/1/activity").text
    assert ("n102" in first, "n2&" in first) == (True, False)
    before = first.split("?before=")[1].split('"')[0]
    second = browser.get("/p/1/activity", before=before).text
    assert ("n2&" in second, "n0&" in second, "n3&" in second) == (True, True, False)


def test_a_search_without_a_match_can_go_on(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "SCANNED", 2)
    add(*({"event": f"n{n}"} for n in range(5)))
    page = browser.get("/p/1/activity", user="joe").text
    assert ("Looked through 2 events" in page, "Look further" in page) == (True, True)


def test_an_empty_log_a_bad_place_and_strangers(guest: Browser) -> None:
    assert "Nothing has happened yet" in guest.get("/p/1/activity").text
    assert guest.get("/p/1/activity", before="x").status_code == 400
    make_project(2)
    assert guest.get("/p/2/activity").status_code == 403
