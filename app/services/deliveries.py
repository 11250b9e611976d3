"""Sending deliveries: taking those that are due, what is said of a job, noting what came of it."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, now_ms
from app.errors import BadParameter
from app.keys import JobKey
from app.models import Delivery, DeliveryState, Job, JobTag, Spider, Webhook
from app.services import jobs
from app.services.webhooks import checked_url

# Pauses after the first, second … attempt that failed, in seconds; after one more it is given up.
PAUSES = (10, 60, 300, 1800, 7200, 21_600, 43_200)
JITTER = 0.2  # part of a pause by which it may be shorter or longer
LEASE_MS = 60_000  # a sender that has said nothing for so long has died; a send takes 10 s at most
KEEP_MS = 7 * 86_400_000  # the log of what was sent
CANDIDATES = 200  # deliveries that are looked at to find some of different webhooks
BATCH = 500  # rows that one transaction removes
ANSWER_LENGTH = 1000  # characters
GONE = 410  # the receiver wants no more, ever


@dataclass(frozen=True)
class Due:
    """A delivery, and for a while the right to send it."""

    id: int
    webhook_id: int
    url: str
    secret: str
    body: Mapping[str, Any]
    attempts: int  # with this one


def waiting(session: Session) -> bool:
    """Is a delivery due? For who would rather not begin to write in vain."""
    return session.scalar(select(col(Delivery.id)).where(*_IS_DUE).limit(1)) is not None


def claim(session: Session, most: int, per_webhook: int, busy: Mapping[int, int]) -> list[Due]:
    """Take deliveries that are due, for LEASE_MS.

    Args:
        most: how many.
        per_webhook: so many of one webhook are sent at a time, so that a slow receiver leaves room.
        busy: how many of a webhook are being sent.

    1. Rows that another sender is just taking are passed over (SKIP LOCKED); SQLite has one writer.
    2. The UPDATE moves ``next_time`` on, so nobody else finds them due; ``attempts`` names the taker.
    3. A sender that dies leaves them to be found due again: delivered at least once, under the same id.

    """
    full = [webhook_id for webhook_id, count in busy.items() if count >= per_webhook]
    chosen = _choose(_due(session, full), most, per_webhook, busy)
    if not chosen:
        return []
    taken = session.execute(
        update(Delivery)
        .where(col(Delivery.id).in_(chosen), col(Delivery.state) == DeliveryState.PENDING)
        .values(attempts=Delivery.attempts + 1, next_time=now_ms() + LEASE_MS, tried_time=now_ms())
        .returning(*_COLUMNS)
    ).all()
    found = {row.webhook_id for row in taken}
    hooks = {hook.id: hook for hook in session.scalars(select(Webhook).where(col(Webhook.id).in_(found)))}
    problems = {hook.id: problem for hook in hooks.values() if (problem := _problem(hook))}
    for webhook_id, problem in problems.items():
        _give_up(session, webhook_id, [row.id for row in taken if row.webhook_id == webhook_id], problem)
    due = []
    for row in taken:
        if row.webhook_id not in problems:
            hook = hooks[row.webhook_id]
            body = _body(session, row)
            due.append(Due(row.id, row.webhook_id, hook.url, hook.secret, body, row.attempts))
    return due


_IS_DUE: tuple[Any, Any] = (col(Delivery.state) == DeliveryState.PENDING, col(Delivery.next_time) <= now_ms())
_COLUMNS: list[Any] = [
    getattr(Delivery, name) for name in ("id", "webhook_id", "event", "body", "attempts", "created_time")
]


def _due(session: Session, full: Collection[int]) -> Sequence[AnyRow]:
    return session.execute(
        select(col(Delivery.id), col(Delivery.webhook_id))
        .where(*_IS_DUE, col(Delivery.webhook_id).not_in(full))
        .order_by(col(Delivery.next_time))
        .limit(CANDIDATES)
        .with_for_update(skip_locked=True)
    ).all()


def _choose(rows: Sequence[AnyRow], most: int, per_webhook: int, busy: Mapping[int, int]) -> list[int]:
    chosen: list[int] = []
    count = Counter(busy)
    for row in rows:
        if len(chosen) < most and count[row.webhook_id] < per_webhook:
            count[row.webhook_id] += 1
            chosen.append(row.id)
    return chosen


def _problem(hook: Webhook) -> str | None:
    """Why nothing may be sent to a webhook."""
    if not hook.enabled:
        return "the webhook was disabled"
    try:
        checked_url(hook.url)  # the setting may have changed
    except BadParameter as problem:
        return str(problem)
    return None


def _give_up(session: Session, webhook_id: int | None, taken: Sequence[int], problem: str) -> None:
    """Fail what was taken of a webhook, and a part of what else is due, lest it stand before all others."""
    due = select(col(Delivery.id)).where(*_IS_DUE, col(Delivery.webhook_id) == webhook_id)
    more = session.scalars(due.limit(BATCH).with_for_update(skip_locked=True)).all()
    failed = {"state": DeliveryState.FAILED, "next_time": None, "answer": problem}
    session.execute(update(Delivery).where(col(Delivery.id).in_([*taken, *more])).values(failed))


def _body(session: Session, row: AnyRow) -> Mapping[str, Any]:
    """What is sent. It is put together for the first attempt, and is the same at each further one."""
    body: dict[str, Any] = row.body
    if "time" not in body:
        body = {**body, "time": row.created_time}
        if row.event.startswith("job:"):
            body["summary"] = summary(session, JobKey.parse(body["job"]))
        session.execute(update(Delivery).where(col(Delivery.id) == row.id).values(body=body))
    return body


_SUMMARY = (
    "state", "close_reason", "items", "pages", "logs", "errors", "priority", "version", "worker",
    "pending_time", "running_time", "finished_time", "scheduled_by",
)  # fmt: skip


def summary(session: Session, key: JobKey) -> dict[str, Any] | None:
    """A job in short: its spider, arguments and tags, how it stands; times in ms. None: it is not there."""
    columns: list[Any] = [getattr(Job, name) for name in (*_SUMMARY, "id", "spider_args")]
    row = session.execute(
        select(*columns, col(Spider.name).label("spider"))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Job.id) == jobs.find(session, key))
    ).one_or_none()
    if row is None:
        return None
    tags = select(col(JobTag.tag)).where(col(JobTag.job_id) == row.id).order_by(col(JobTag.position))
    return {
        "spider": row.spider,
        "args": row.spider_args or {},
        "tags": list(session.scalars(tags)),
        **{name: getattr(row, name) for name in _SUMMARY},
    }


def settle(session: Session, due: Due, status: int | None, answer: str) -> None:
    """Note what came of an attempt: delivered, to be tried again later, or given up.

    Args:
        status: of the answer; None: there was none.
        answer: its beginning, or why there was none.

    An attempt that somebody else has overtaken, because its lease had run out, changes nothing.

    """
    result = {"status": status, "answer": answer.replace("\0", "")[:ANSWER_LENGTH]}
    if status is not None and 200 <= status < 300:
        _set(session, due.id, due.attempts, DeliveryState.DELIVERED, **result)
    elif status == GONE:
        # First the webhook, as who removes it does: no two wait crosswise.
        session.execute(update(Webhook).where(col(Webhook.id) == due.webhook_id).values(enabled=False))
        _set(session, due.id, due.attempts, DeliveryState.FAILED, **result)
    elif due.attempts > len(PAUSES):
        _set(session, due.id, due.attempts, DeliveryState.FAILED, **result)
    else:
        pause = PAUSES[due.attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
        later = now_ms() + int(pause * 1000)
        _set(session, due.id, due.attempts, DeliveryState.PENDING, next_time=later, **result)


def _set(session: Session, delivery_id: int, attempt: int, state: DeliveryState, **columns: Any) -> None:
    mine = (
        col(Delivery.id) == delivery_id,
        col(Delivery.state) == DeliveryState.PENDING,
        col(Delivery.attempts) == attempt,
    )
    session.execute(update(Delivery).where(*mine).values({"state": state, "next_time": None, **columns}))


def purge_some(session: Session) -> bool:
    """Forget a part of what was sent long ago; True: there may be more."""
    oldest = session.scalars(select(col(Delivery.id)).order_by(col(Delivery.id)).limit(BATCH)).all()
    gone = delete(Delivery).where(
        col(Delivery.id).in_(oldest),
        col(Delivery.created_time) < now_ms() - KEEP_MS,
        col(Delivery.state) != DeliveryState.PENDING,
    )
    return execute(session, gone).rowcount == BATCH
