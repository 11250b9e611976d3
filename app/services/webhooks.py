"""Webhooks: whom a project tells, of what; and the log of what was delivered to them."""

import base64
import secrets
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, now_ms
from app.errors import BadParameter, NotFound, Refused
from app.models import Delivery, DeliveryState, Webhook
from app.services import activity, outbox
from app.settings import settings

# What may be told of; a webhook that names none of them is told all.
EVENTS = (
    "job:scheduled", "job:started", "job:completed", "job:cancelled", "job:deleted",
    "periodic:started", "periodic:skipped", "periodic:missed", "periodic:failed",
)  # fmt: skip
TEST = "test"

URL_LENGTH = 2000  # characters
MOST_WEBHOOKS = 50  # of a project


def create(session: Session, project_id: int, url: str, events: Sequence[str], by: str) -> tuple[int, str]:
    """Add a webhook; returns its id and the secret that signs what is sent, which is not shown again.

    Args:
        events: of EVENTS; none: all.

    Raises:
        BadParameter: the URL or an event is none that can be.
        Refused: the project has too many, or one with this URL, as when a page is loaded again that has
            shown a secret.

    """
    values = {"url": checked_url(url), "events": _checked_events(events)}
    _check_new(session, project_id, url)
    mine = select(col(Webhook.id)).where(col(Webhook.project_id) == project_id).limit(MOST_WEBHOOKS)
    if len(session.scalars(mine).all()) == MOST_WEBHOOKS:
        raise Refused(f"a project has at most {MOST_WEBHOOKS} webhooks")
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    row = {"project_id": project_id, "secret": secret, "enabled": True, "created_by": by, **values}
    made = insert(Webhook).values(created_time=now_ms(), **row).returning(col(Webhook.id))
    webhook_id = session.scalars(made).one() or 0
    _note(session, project_id, webhook_id, url, by, activity.WEBHOOK_CREATED)
    return webhook_id, secret


def _check_new(session: Session, project_id: int, url: str, webhook_id: int | None = None) -> None:
    mine = select(col(Webhook.id)).where(col(Webhook.project_id) == project_id, col(Webhook.url) == url)
    other = session.scalar(mine.where(col(Webhook.id) != (webhook_id or 0)).limit(1))
    if other is not None:
        raise Refused(f"webhook {other} of the project calls this address already")


def _note(session: Session, project_id: int, webhook_id: int, url: str, by: str, event: str) -> None:
    """Of the address only the host is told: the rest may be a secret of who is called."""
    host = urlsplit(url).hostname or ""
    activity.happened_to(session, project_id, by, event, webhook=str(webhook_id), host=host)


def checked_url(url: str) -> str:
    """A URL that may be called.

    Raises:
        BadParameter: it is none, or not of a host that CRAWLDOCK_WEBHOOK_HOSTS allows.

    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise BadParameter("invalid value for url: not a URL") from None
    if len(url) > URL_LENGTH or not url.isprintable() or " " in url:
        raise BadParameter(f"invalid value for url: longer than {URL_LENGTH} characters, or with spaces")
    if parts.scheme not in ("http", "https") or not host:
        raise BadParameter("invalid value for url: it must begin with http:// or https:// and a host")
    allowed = settings().webhook_host_patterns
    if allowed and not any(fnmatchcase(host.lower(), pattern) for pattern in allowed):
        raise BadParameter(f"invalid value for url: CRAWLDOCK_WEBHOOK_HOSTS does not allow {host[:200]}")
    return url


def _checked_events(events: Sequence[str]) -> list[str]:
    for event in events:
        if event not in EVENTS:
            raise BadParameter(f"invalid value for events: {event[:200]}")
    return list(dict.fromkeys(events))


def update_one(
    session: Session,
    project_id: int,
    webhook_id: int,
    by: str,
    *,
    url: str | None = None,
    events: Sequence[str] | None = None,
    enabled: bool | None = None,
) -> None:
    """Change what is given. What waits for a webhook that is disabled is given up.

    Raises:
        NotFound: the project has no such webhook.
        BadParameter, Refused: as ``create``.

    """
    values: dict[str, Any] = {}
    if url is not None:
        values["url"] = checked_url(url)
        _check_new(session, project_id, url, webhook_id)
    if events is not None:
        values["events"] = _checked_events(events)
    if enabled is not None:
        values["enabled"] = enabled
    if not values:
        return
    changed = update(Webhook).where(*_this(project_id, webhook_id)).values(values).returning(col(Webhook.url))
    its_url = execute(session, changed).scalar_one_or_none()
    if its_url is None:
        raise _unknown(webhook_id)
    event = activity.WEBHOOK_CHANGED
    if values.keys() == {"enabled"}:
        event = activity.WEBHOOK_ENABLED if enabled else activity.WEBHOOK_DISABLED
    _note(session, project_id, webhook_id, its_url, by, event)


def remove(session: Session, project_id: int, webhook_id: int, by: str) -> None:
    """Forget a webhook and all that was, or was to be, delivered to it.

    Raises:
        NotFound: the project has no such webhook.

    """
    gone = delete(Webhook).where(*_this(project_id, webhook_id)).returning(col(Webhook.url))
    url = execute(session, gone).scalar_one_or_none()
    if url is None:
        raise _unknown(webhook_id)
    _note(session, project_id, webhook_id, url, by, activity.WEBHOOK_DELETED)


def _this(project_id: int, webhook_id: int) -> tuple[Any, Any]:
    return col(Webhook.project_id) == project_id, col(Webhook.id) == webhook_id


def _unknown(webhook_id: int) -> NotFound:
    return NotFound(f"unknown webhook: {webhook_id}")


_SHOWN: list[Any] = [
    getattr(Webhook, name) for name in ("id", "url", "events", "enabled", "created_by", "created_time")
]


def listing(session: Session, project_id: int) -> Sequence[AnyRow]:
    """The webhooks of a project, the oldest first, without their secrets; ``latest``: state of a delivery."""
    newest = (
        select(col(Delivery.state))
        .where(col(Delivery.webhook_id) == col(Webhook.id))
        .order_by(col(Delivery.id).desc())
        .limit(1)
        .correlate(Webhook)
        .scalar_subquery()
    )
    mine = select(*_SHOWN, newest.label("latest")).where(col(Webhook.project_id) == project_id)
    return session.execute(mine.order_by(col(Webhook.id))).all()


def one(session: Session, project_id: int, webhook_id: int) -> AnyRow:
    """A webhook of a project, without its secret.

    Raises:
        NotFound: the project has no such webhook.

    """
    row = session.execute(select(*_SHOWN).where(*_this(project_id, webhook_id))).one_or_none()
    if row is None:
        raise _unknown(webhook_id)
    return row


def test(session: Session, project_id: int, webhook_id: int, by: str) -> None:
    """Send something now, to see whether it arrives.

    Raises:
        NotFound: the project has no such webhook.
        Refused: it is disabled.

    """
    if not one(session, project_id, webhook_id).enabled:
        raise Refused("the webhook is disabled")
    body = {"event": TEST, "project": project_id, "user": by}
    outbox.add(session, [{"webhook_id": webhook_id, "event": TEST, "body": body}])


def deliveries(
    session: Session, project_id: int, webhook_id: int, count: int, before: int | None = None
) -> Sequence[AnyRow]:
    """The delivery log of a webhook, the newest first.

    Args:
        count: at most so many.
        before: only those with a smaller id.

    Raises:
        NotFound: the project has no such webhook.

    """
    one(session, project_id, webhook_id)
    names = ("id", "event", "body", "state", "attempts", "next_time", "status", "answer", "created_time")
    columns: list[Any] = [getattr(Delivery, name) for name in (*names, "tried_time")]
    older = () if before is None else (col(Delivery.id) < before,)
    return session.execute(
        select(*columns)
        .where(col(Delivery.webhook_id) == webhook_id, *older)
        .order_by(col(Delivery.id).desc())
        .limit(count)
    ).all()


def redeliver(session: Session, project_id: int, delivery_id: int) -> None:
    """Send again, under the same id, what was delivered or given up; what waits is sent now.

    Raises:
        NotFound: the project has no such delivery.

    """
    mine = select(col(Webhook.id)).where(col(Webhook.project_id) == project_id)
    again = (
        update(Delivery)
        .where(col(Delivery.id) == delivery_id, col(Delivery.webhook_id).in_(mine))
        .values(state=DeliveryState.PENDING, attempts=0, next_time=now_ms(), status=None, answer=None)
    )
    if execute(session, again).rowcount == 0:
        raise NotFound(f"unknown delivery: {delivery_id}")
