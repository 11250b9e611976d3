"""The pages of webhooks: added with a secret shown once, changed, tried, their log, removed."""

import re
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import col

from app import db
from app.models import Delivery
from app.services import deliveries, webhooks
from tests.factories import everything, make_job, make_project
from tests.ui.conftest import Browser

HERE = "/p/1/settings/webhooks"
URL = "https://hooks.example.com/a?b=<c>"


def add(browser: Browser, *events: str, url: str = URL) -> int:
    """Fill in the form; returns the id of the webhook."""
    assert browser.post(HERE, url=url, event=events).status_code == 200
    return rows()[-1].id  # type: ignore[no-any-return]


def rows() -> list[Any]:
    with db.reading() as session:
        return list(webhooks.listing(session, 1))


def told(state: str = "pending") -> list[int]:
    with db.reading() as session:
        mine = select(col(Delivery.id)).where(col(Delivery.state) == state)
        return list(session.scalars(mine.order_by(col(Delivery.id))))


def attempt(status: int | None, answer: str) -> None:
    """Everything that is due is sent, and answered so."""
    with db.transaction() as session:
        for due in deliveries.claim(session, 10, 10, {}):
            deliveries.settle(session, due, status, answer)


def test_the_secret_is_shown_once(browser: Browser) -> None:
    page = browser.post(HERE, url=URL, event=["job:completed", "job:started"])
    secrets = re.findall(r"whsec_[A-Za-z0-9+/=]+", page.text)
    assert len(secrets) == 1
    assert 'name="url" type="url" value=""' in page.text
    again = browser.get(HERE).text
    assert "whsec_" not in again + browser.get(f"{HERE}/1").text
    assert URL in unescape(again)
    assert URL not in again  # written as text
    assert [(row.url, row.events, row.created_by) for row in rows()] == [
        (URL, ["job:completed", "job:started"], "admin")
    ]


def test_a_page_that_is_loaded_again_makes_no_second_one(browser: Browser) -> None:
    webhook = add(browser)
    before = everything()
    answer = browser.post(HERE, url=URL, event=[])
    assert answer.status_code == 409
    assert f"webhook {webhook} of the project calls this address already" in answer.text
    assert everything() == before
    assert browser.post(f"{HERE}/{webhook}", url=URL, event=["job:started"]).status_code == 303


def test_all_events_ticked_are_the_same_as_none(browser: Browser) -> None:
    add(browser, *webhooks.EVENTS)
    assert rows()[0].events == []


@pytest.mark.parametrize(
    "fields", [{"url": "ftp://a/"}, {"url": ""}, {"url": "http://a/" + "x" * 3000}, {"url": URL, "event": "x:y"}]
)  # fmt: skip
def test_what_cannot_be_stays_in_the_form(browser: Browser, fields: dict[str, str]) -> None:
    webhook = add(browser)
    before = everything()
    for path in (HERE, f"{HERE}/{webhook}"):
        answer = browser.post(path, **fields)
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text
        assert f'value="{fields["url"]}"' in unescape(answer.text)
    assert everything() == before


def test_it_is_changed_disabled_and_enabled(browser: Browser) -> None:
    webhook = add(browser, "job:started")
    page = browser.follow(browser.post(f"{HERE}/{webhook}", url="http://b.example/", event="job:deleted"))
    assert "was changed" in page
    assert re.findall(r'value="(\S+)" checked', page) == ["job:deleted"]
    page = browser.follow(browser.post(f"{HERE}/{webhook}/enable", enabled="0"))
    assert rows()[0].enabled is False
    assert "disabled" in page
    assert browser.post(f"{HERE}/{webhook}/test").status_code == 409
    assert "is enabled" in browser.follow(browser.post(f"{HERE}/{webhook}/enable", enabled="1"))


def test_a_test_and_what_came_of_it(browser: Browser) -> None:
    webhook = add(browser, "job:started")
    page = browser.follow(browser.post(f"{HERE}/{webhook}/test"))
    assert f'data-live="{HERE}/{webhook}/events.sse"' in page
    attempt(503, "<b>busy</b> " * 10)
    page = browser.get(f"{HERE}/{webhook}").text
    assert f'data-live="{HERE}/{webhook}/events.sse"' in page
    assert "<strong>503</strong>" in page
    assert "&lt;b&gt;busy" in page
    assert "retrying" in page
    assert '<span class="chip pending">' in browser.get(HERE).text


def test_what_was_delivered_is_sent_again_on_demand(browser: Browser) -> None:
    webhook = add(browser)
    key = make_job()
    attempt(204, "")
    page = browser.get(f"{HERE}/{webhook}").text
    assert f'href="/p/{key}"' in page
    assert '<span class="chip delivered">' in page
    (delivery,) = told("delivered")
    browser.follow(browser.post(f"{HERE}/{webhook}/redeliver", delivery=str(delivery)))
    assert told() == [delivery]


def test_the_log_has_pages(browser: Browser) -> None:
    webhook = add(browser)
    for _ in range(31):
        make_job()
    page = browser.get(f"{HERE}/{webhook}").text
    assert page.count("<code>job:scheduled</code> <span class=\"muted\">msg_") == 30  # fmt: skip
    assert "?after=2" in page
    assert browser.get(f"{HERE}/{webhook}", after=2).text.count("msg_") == 1


def test_it_is_deleted_after_a_question(browser: Browser) -> None:
    webhook = add(browser)
    page = browser.post(f"{HERE}/{webhook}/delete")
    assert (page.status_code, len(rows())) == (200, 1)
    assert "Delete this webhook?" in page.text
    browser.follow(browser.post(f"{HERE}/{webhook}/delete", confirmed="1"))
    assert rows() == []


@pytest.mark.parametrize("path", ["", "/enable", "/test", "/redeliver", "/delete"])
def test_what_is_anothers_or_no_webhook_is_not_there(guest: Browser, path: str) -> None:
    make_project(2)
    with db.transaction() as session:
        other, _ = webhooks.create(session, 2, URL, (), "admin")
    for webhook in (str(other), "77", "x"):
        fields = {"url": URL, "delivery": "1"}
        answer = guest.post(f"{HERE}/{webhook}{path}", **fields)
        assert answer.status_code == 404, (webhook, path)
    assert guest.get("/p/2/settings/webhooks").status_code == 403


def test_a_form_that_is_not_ours_changes_nothing(browser: Browser) -> None:
    webhook = add(browser)
    before = everything()
    for path in ("", f"/{webhook}", f"/{webhook}/test", f"/{webhook}/delete"):
        answer = browser.post(f"{HERE}{path}", form_token="x", url=URL, confirmed="1")
        assert answer.status_code == 400
    assert everything() == before
