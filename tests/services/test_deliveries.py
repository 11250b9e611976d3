"""Deliveries: each is taken by one sender, tried again with growing pauses, and comes to an end."""

from typing import Any

import pytest
from sqlalchemy import select, update
from sqlmodel import col

from app import db
from app.models import Delivery, Webhook
from app.services import deliveries, webhooks
from app.services.deliveries import PAUSES, Due
from app.settings import settings
from tests.factories import at_once, finish, make_job, running_job
from tests.services.test_webhooks import change, make_webhook

pytestmark = pytest.mark.usefixtures("database", "sent")


def claim(most: int = 10, per_webhook: int = 10, busy: dict[int, int] | None = None) -> list[Due]:
    with db.transaction() as session:
        return deliveries.claim(session, most, per_webhook, busy or {})


def settle(due: Due, status: int | None, answer: str = "") -> None:
    with db.transaction() as session:
        deliveries.settle(session, due, status, answer)


def rows() -> list[dict[str, Any]]:
    with db.reading() as session:
        found = session.scalars(select(Delivery).order_by(col(Delivery.id))).all()
        return [each.model_dump() for each in found]


def later(**columns: Any) -> None:
    """Everything that waits is due now, unless ``columns`` say otherwise."""
    with db.transaction() as session:
        session.execute(update(Delivery).values({"next_time": 5, **columns}))


def test_each_is_taken_by_one() -> None:
    make_webhook("job:scheduled")
    for _ in range(40):
        make_job()
    # Who takes some holds up nobody: others may find nothing, and ask again.
    found = at_once(4, lambda _: [due for _ in range(5) for due in claim(2)])
    taken = [due.id for each in [*found, claim(40, 40)] for due in each]
    assert len(taken) == len(set(taken)) == 40
    assert claim() == []


def test_who_dies_leaves_them_to_others() -> None:
    make_webhook("job:scheduled")
    make_job()
    (first,) = claim()
    later()
    (second,) = claim()
    assert (first.id, first.attempts, second.attempts) == (second.id, 1, 2)
    settle(first, 500)  # too late: it is the second one's now
    assert rows()[0]["status"] is None
    settle(second, 204)
    assert (rows()[0]["state"], rows()[0]["status"]) == ("delivered", 204)
    later()
    assert claim() == []


def test_a_job_is_summed_up_at_the_first_attempt_and_never_changes() -> None:
    make_webhook("job:started")
    job = running_job(tags=["b", "a"])
    (due,) = claim()
    assert due.body["summary"].items() >= {
        "spider": "quotes", "state": "running", "close_reason": None, "items": 0, "tags": ["b", "a"], "worker": "worker",
    }.items()  # fmt: skip
    assert list(due.body["summary"]["args"]) == ["n"]
    assert (due.body["event"], due.body["project"], due.body["job"]) == ("job:started", 1, str(job.key))
    assert due.body["time"] == rows()[0]["created_time"]
    finish(job)
    later()
    assert claim()[0].body == due.body


def test_the_pauses_grow_and_then_it_is_given_up() -> None:
    make_webhook("job:scheduled")
    make_job()
    for pause in PAUSES:
        (due,) = claim()
        settle(due, 503, "busy\0")
        row = rows()[0]
        assert (row["state"], row["status"], row["answer"]) == ("pending", 503, "busy")
        assert 0.75 * pause * 1000 < row["next_time"] - row["tried_time"] < 1.25 * pause * 1000 + 30_000
        later()
    (due,) = claim()
    settle(due, None, "ConnectError")
    row = rows()[0]
    assert (row["state"], row["attempts"], row["status"]) == ("failed", len(PAUSES) + 1, None)
    later()
    assert claim() == []


def test_what_was_given_up_is_sent_again_on_demand() -> None:
    webhook = make_webhook("job:scheduled")
    make_job()
    settle(claim()[0], 410)
    assert rows()[0]["state"] == "failed"
    change(webhook, enabled=True)
    with db.transaction() as session:
        webhooks.redeliver(session, 1, rows()[0]["id"])
    assert [due.attempts for due in claim()] == [1]


def test_a_receiver_that_is_gone_is_told_no_more() -> None:
    webhook = make_webhook("job:scheduled")
    make_job()
    make_job()
    settle(claim(1)[0], 410)
    with db.reading() as session:
        assert webhooks.one(session, 1, webhook).enabled is False
    assert claim() == []
    assert [row["state"] for row in rows()] == ["failed", "failed"]
    assert rows()[1]["answer"] == "the webhook was disabled"


def test_a_host_that_is_no_longer_allowed_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    make_webhook("job:scheduled")
    make_job()
    monkeypatch.setenv("CRAWLDOCK_WEBHOOK_HOSTS", "elsewhere.example")
    settings.cache_clear()
    assert claim() == []
    assert "CRAWLDOCK_WEBHOOK_HOSTS" in rows()[0]["answer"]


def test_a_busy_receiver_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "CANDIDATES", 5)
    one = make_webhook("job:scheduled")
    for _ in range(20):
        make_job()
    other = make_webhook("job:scheduled")
    make_job()
    assert [due.webhook_id for due in claim(per_webhook=3)] == [one] * 3
    assert [due.webhook_id for due in claim(per_webhook=3, busy={one: 3})] == [other]


def test_what_waits_for_a_disabled_webhook_does_not_stand_before_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliveries, "CANDIDATES", 5)
    disabled = make_webhook("job:scheduled")
    for _ in range(20):
        make_job()
    change(disabled, enabled=False)
    other = make_webhook("job:scheduled")
    make_job()
    assert claim(per_webhook=3) == []
    assert [due.webhook_id for due in claim(per_webhook=3)] == [other]


def test_what_was_sent_long_ago_is_forgotten_what_waits_is_not() -> None:
    make_webhook("job:scheduled")
    for _ in range(3):
        make_job()
    settle(claim(1)[0], 204)
    with db.transaction() as session:
        session.execute(update(Delivery).where(col(Delivery.id) != rows()[2]["id"]).values(created_time=5))
        assert deliveries.purge_some(session) is False
    assert [row["state"] for row in rows()] == ["pending", "pending"]
    with db.transaction() as session:
        session.execute(update(Webhook).values(enabled=False))
    claim()
    with db.transaction() as session:
        deliveries.purge_some(session)
    assert len(rows()) == 1
