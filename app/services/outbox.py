"""What webhooks are to be told, written in the transaction of what it tells of."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select
from sqlalchemy.orm import Session

from app.db import now_ms
from app.models import Delivery, DeliveryState, Webhook
from app.prepared import Prepared

_WEBHOOK, _DELIVERY = Webhook.__table__, Delivery.__table__  # type: ignore[attr-defined]
# Made once: every change of a job asks. The rows are held, so that one that is being removed is passed
# over here, and does not make the change fail.
_TOLD = Prepared(
    select(_WEBHOOK.c.id, _WEBHOOK.c.events)
    .where(_WEBHOOK.c.project_id == bindparam("project"), _WEBHOOK.c.enabled)
    .with_for_update(read=True, key_share=True)
)
_INSERT = (
    insert(_DELIVERY)
    .values(state=DeliveryState.PENDING, attempts=0, next_time=now_ms(), created_time=now_ms())
    .inline()
)


def emit(session: Session, project_id: int, event: str, *bodies: Mapping[str, Any]) -> None:
    """What happened is to be told, once for each body, to all webhooks of the project that ask for it.

    It is written in the transaction of what it tells of: either both are there, or neither. A project
    without webhooks pays one look into an index. ``time`` and, of a job, ``summary`` are added when it is
    first sent.
    """
    told = _TOLD(session, {"project": project_id}) if bodies else ()
    rows = [
        {"webhook_id": webhook.id, "event": event, "body": {"event": event, "project": project_id, **body}}
        for body in bodies
        for webhook in told
        if not webhook.events or event in webhook.events
    ]
    add(session, rows)


def add(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Deliveries that are due now: ``webhook_id``, ``event`` and ``body`` of each."""
    if rows:
        session.execute(_INSERT, rows if len(rows) > 1 else rows[0])
