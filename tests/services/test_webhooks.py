"""Webhooks: who is told of what, in the transaction of the change; what may be called."""

import contextlib
import itertools
from typing import Any

import pytest
from sqlalchemy import select

from app import db
from app.errors import AlreadyScheduled, BadParameter, NotFound, Refused
from app.models import Delivery
from app.services import jobs, webhooks
from app.settings import settings
from tests.factories import (
    at_once,
    everything,
    fake_revoke,
    finish,
    make_job,
    make_project,
    running_job,
    states,
)

pytestmark = pytest.mark.usefixtures("database", "sent")
URL = "https://hooks.example.com/a?b=c"
_number = itertools.count()


def make_webhook(*events: str, project: int = 1, url: str | None = None) -> int:
    with db.transaction() as session:
        return webhooks.create(
            session, project, url if url is not None else f"{URL}{next(_number)}", events, "admin"
        )[0]


def change(webhook_id: int, **values: Any) -> None:
    with db.transaction() as session:
        webhooks.update_one(session, 1, webhook_id, "admin", **values)


def told() -> list[tuple[int, str, Any]]:
    """Webhook, event and job of each delivery, in order."""
    with db.reading() as session:
        rows = session.execute(
            select(Delivery.webhook_id, Delivery.event, Delivery.body).order_by(Delivery.id)  # type: ignore[call-overload]
        )
        return [(row.webhook_id, row.event, row.body.get("job")) for row in rows]


def test_every_change_of_a_job_is_told_once_to_each_webhook_that_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_revoke(monkeypatch)
    every, ends = make_webhook(), make_webhook("job:completed", "job:deleted")
    make_webhook(project=make_project())
    job = running_job()
    key = str(job.key)
    with db.transaction() as session:
        jobs.request_stop(session, [job.key], "somebody")
    finish(job)
    with db.transaction() as session:
        jobs.delete(session, [job.key], "somebody")
    names = ["job:scheduled", "job:started", "job:cancelled", "job:completed", "job:deleted"]
    assert sorted(told()) == sorted(
        [(every, name, key) for name in names] + [(ends, name, key) for name in names[3:]]
    )


def test_many_jobs_at_once_are_told_each() -> None:
    keys = [make_job() for n in range(3)]
    webhook = make_webhook("job:deleted")
    with db.transaction() as session:
        jobs.delete(session, keys, "somebody")
    assert told() == [(webhook, "job:deleted", str(key)) for key in keys]


def test_a_change_that_does_not_happen_is_not_told() -> None:
    make_webhook()
    make_job(args={"a": "1"})
    with pytest.raises(AlreadyScheduled):
        make_job(args={"a": "1"})
    with contextlib.suppress(RuntimeError), db.transaction() as session:
        jobs.schedule(session, 1, jobs.NewJob("quotes"), "admin")
        raise RuntimeError
    assert len(told()) == 1


def test_a_webhook_is_changed_disabled_and_removed() -> None:
    webhook = make_webhook("job:started")
    change(webhook, url="http://other.example:8080/", events=["job:scheduled", "job:scheduled"])
    with db.reading() as session:
        (row,) = webhooks.listing(session, 1)
    assert (row.url, row.events, row.enabled) == ("http://other.example:8080/", ["job:scheduled"], True)
    make_job()
    assert len(told()) == 1
    change(webhook, enabled=False)
    make_job()
    assert len(told()) == 1
    with pytest.raises(Refused), db.transaction() as session:
        webhooks.test(session, 1, webhook, "admin")
    with db.transaction() as session:
        webhooks.remove(session, 1, webhook, "admin")
    assert told() == []


def test_secrets_are_long_different_and_not_listed() -> None:
    with db.transaction() as session:
        made = [webhooks.create(session, 1, f"{URL}{n}", (), "admin")[1] for n in range(3)]
        rows = webhooks.listing(session, 1)
    assert len(set(made)) == 3
    assert all(secret.startswith("whsec_") and len(secret) > 40 for secret in made)
    assert not any(secret in str(row) for secret in made for row in rows)


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "ftp://a.example/", "file:///etc/passwd", "http://", "http:///path", "https://[::1", "http://a:99999/",
        "http://a.example/ b", "http://a.example/\n", "http://a\0b/", "javascript:alert(1)", "http://a/" + "x" * 2000,
    ],
)  # fmt: skip
def test_what_cannot_be_called_is_refused(url: str) -> None:
    webhook = make_webhook()
    before = everything()
    with pytest.raises(BadParameter, match="url"):
        make_webhook(url=url)
    with pytest.raises(BadParameter, match="url"):
        change(webhook, url=url)
    with pytest.raises(BadParameter, match="events"):
        make_webhook("job:nothing")
    assert everything() == before


def test_the_platform_may_name_the_hosts_that_may_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLDOCK_WEBHOOK_HOSTS", "a.example, *.B.example")
    settings.cache_clear()
    for url in ("http://a.example/", "https://x.y.b.example:1/", "http://A.example/"):
        make_webhook(url=url)
    for url in ("http://b.example/", "http://a.example.evil/", "http://a.example@evil/", "http://127.0.0.1/"):
        with pytest.raises(BadParameter, match="CRAWLDOCK_WEBHOOK_HOSTS"):
            make_webhook(url=url)


def test_what_is_anothers_is_not_found() -> None:
    webhook = make_webhook(project=make_project())
    for call in (
        lambda session: webhooks.update_one(session, 1, webhook, "admin", enabled=False),
        lambda session: webhooks.remove(session, 1, webhook, "admin"),
        lambda session: webhooks.test(session, 1, webhook, "admin"),
        lambda session: webhooks.deliveries(session, 1, webhook, 10),
        lambda session: webhooks.redeliver(session, 1, 1),
    ):
        with pytest.raises(NotFound), db.transaction() as session:
            call(session)


def test_there_is_an_end_to_webhooks() -> None:
    for _ in range(webhooks.MOST_WEBHOOKS):
        make_webhook()
    with pytest.raises(Refused, match="at most"):
        make_webhook()


def test_the_log_goes_back_page_by_page() -> None:
    webhook = make_webhook("job:scheduled")
    for _ in range(5):
        make_job()
    with db.reading() as session:
        first = webhooks.deliveries(session, 1, webhook, 3)
        rest = webhooks.deliveries(session, 1, webhook, 3, before=first[-1].id)
    ids = [row.id for row in [*first, *rest]]
    assert (len(first), ids) == (3, sorted(ids, reverse=True))
    assert len(ids) == 5


def test_webhooks_that_come_and_go_make_no_change_of_a_job_fail() -> None:
    def work(n: int) -> None:
        for _ in range(15):
            if n:
                make_job()
            else:
                webhook = make_webhook()
                with db.transaction() as session:
                    webhooks.remove(session, 1, webhook, "admin")

    assert at_once(4, work) == [None] * 4
    assert len(states()) == 45
