"""What happened in a project."""

import re
from html import unescape

import orjson
import pytest
from sqlalchemy import select
from sqlmodel import col

from app import db
from app.models import Activity, ApiKey
from app.services import activity
from tests.factories import make_job, make_project, running_job
from tests.platform import KEY
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


def told() -> list[dict[str, str]]:
    """What was written, without the states that jobs entered."""
    with db.reading() as session:
        events = session.scalars(select(col(Activity.event)).order_by(col(Activity.id)))
        found = [orjson.loads(event) for event in events]
    states = ("job:scheduled", "job:started", "job:completed", "job:cancelled")
    return [event for event in found if event["event"] not in states]


def said(browser: Browser) -> list[str]:
    """The words of the page, the oldest first."""
    cells = re.findall(r'<td class="all prose">(.*?)</td>', browser.get("/p/1/activity").text)
    return [unescape(re.sub("<[^>]+>", "", cell)).strip() for cell in reversed(cells)]


def test_who_changed_jobs(browser: Browser) -> None:
    key, running = make_job(), running_job(args={"n": "1"}).key
    waits = make_job(args={"n": "2"})
    browser.post("/p/1/jobs/priority", job=str(waits), priority="4")
    for path in ("kill", "stop", "kill", "kill"):
        browser.post(f"/p/{running}/{path}")
    for _ in range(2):
        browser.post(f"/p/{waits}/tags", add="a")
    browser.post("/p/1/jobs/bulk", job=[str(key), str(waits)], action="untag", tag_name="a", confirmed="1")
    browser.post("/p/1/jobs/bulk", job=[str(key)], action="tag", tag_name="b", confirmed="1")
    assert told() == [
        {"event": "job:priority", "user": "admin", "job": str(waits), "priority": "4"},
        {"event": "job:killed", "user": "admin", "job": str(running)},
        {"event": "job:tagged", "user": "admin", "job": str(waits), "added": "a"},
        {"event": "job:tagged", "user": "admin", "jobs": "2", "removed": "a"},
        {"event": "job:tagged", "user": "admin", "jobs": "1", "added": "b"},
    ]
    words = said(browser)
    assert f"changed the priority of job {waits.spider}/{waits.job}: to 4" in words
    assert words[-2:] == ["changed the tags of 2 jobs: removed a", "changed the tags of 1 job: added b"]


def test_many_jobs_that_are_tagged_are_one_event(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.ui.jobs.PORTION", 1)
    monkeypatch.setattr("app.services.joblist.PORTION", 1)
    keys = [str(make_job(args={"n": str(n)}, tags=["a"] if n == 0 else [])) for n in range(3)]
    browser.post("/p/1/jobs/bulk", job=keys, action="tag", tag_name="a", confirmed="1")
    one = {"event": "job:tagged", "user": "admin", "jobs": "3"}
    assert told() == [{**one, "added": "a"}]
    data = {"project": 1, "state": "pending", "add_tag": ["b", "c"], "remove_tag": "a"}
    assert browser.client.post("/api/jobs/update.json", data=data, auth=(KEY, "")).json()["count"] == 3
    assert told()[1:] == [{**one, "added": "b, c", "removed": "a"}]


def test_who_changed_the_settings(guest: Browser) -> None:
    guest.post("/p/1/settings/set", setting="token", value='"s3cret"')
    for _ in range(2):
        guest.post("/p/1/settings/unset", setting="token")
    client, auth = guest.client, (KEY, "")
    assert client.post("/projects/1/settings", json={"b": 1, "a": 2}, auth=auth).is_success
    assert client.delete("/projects/1/settings/b", auth=auth).is_success
    assert [tuple(event.values()) for event in told()] == [
        ("project:settings", "guest", "token"),
        ("project:setting_removed", "guest", "token"),
        ("project:settings", "admin", "a, b"),
        ("project:setting_removed", "admin", "b"),
    ]
    assert said(guest)[0] == "changed settings: token"


def test_who_changed_webhooks(guest: Browser) -> None:
    here = "/p/1/settings/webhooks"
    url = "https://joe:pass@hooks.example.com/T0/s3cret"
    guest.post(here, url=url, event="job:started")
    guest.post(f"{here}/1", url=url)
    for enabled in ("", "1"):
        guest.post(f"{here}/1/enable", enabled=enabled)
    guest.post(f"{here}/1/delete", confirmed="1")
    kinds = ("created", "changed", "disabled", "enabled", "deleted")
    common = {"user": "guest", "webhook": "1", "host": "hooks.example.com"}
    assert told() == [{"event": f"webhook:{kind}", **common} for kind in kinds]
    assert said(guest)[0] == "added a webhook to hooks.example.com"


def test_who_changed_keys_and_passwords_and_no_secret(browser: Browser) -> None:
    here, confirmed = "/p/1/settings/members", {"user": "joe", "confirmed": "1"}
    make_project(2)
    pages = [browser.post(f"{here}/new", user="joe"), browser.post(f"{here}/key", **confirmed)]
    keys = [re.findall(r'id="fresh">([0-9a-f]{32})<', page.text)[0] for page in pages]
    browser.post("/logout")
    assert browser.sign_in(keys[1]).status_code == 303
    browser.post("/account/password", new="correct horse", again="correct horse")
    keys += re.findall(r'id="fresh">([0-9a-f]{32})<', browser.post("/account/key", confirmed="1").text)
    browser.post("/logout")
    assert browser.sign_in().status_code == 303
    browser.post(f"{here}/revoke", **confirmed)
    assert [tuple(event.values()) for event in told()] == [
        ("key:created", "admin", "joe"),
        ("member:added", "admin", "joe"),
        ("key:rotated", "admin", "joe"),
        ("key:password", "joe", "joe"),
        ("key:rotated", "joe", "joe"),
        ("key:revoked", "admin", "joe"),
    ]
    assert said(browser)[0] == "made the key of joe"
    with db.reading() as session:
        rows = session.execute(select(ApiKey.__table__.c["hash", "password"])).all()  # type: ignore[attr-defined]
        text = "".join(session.scalars(select(col(Activity.event))))
    secrets = [*keys, "correct horse", *(value for row in rows for value in row if value)]
    assert len(secrets) > 5
    assert not [secret for secret in secrets if secret in text]


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
