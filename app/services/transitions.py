"""What the transitions of jobs share: rows are held, then moved, and what happened is recorded."""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import broker
from app.db import AnyRow, after_commit, now_ms
from app.keys import JobKey
from app.models import Job, JobState, Spider
from app.services import activity
from app.services.activity import ENTERED


def entered(state: JobState, by: Any) -> dict[str, Any]:
    """The columns that entering ``state`` writes: the state itself, times, and who did it (contract 7.3)."""
    now = now_ms()
    who = {
        JobState.PENDING: "scheduled_by",
        JobState.RUNNING: "started_by",
        JobState.FINISHED: "completed_by",
        JobState.DELETED: "deleted_by",
    }
    changed = dict.fromkeys(("state_time", "updated_time", "touched_time", f"{state}_time"), now)
    return {"state": state, **changed, who[state]: by}


def new_token() -> str:
    """What makes every process but one a stranger to a job."""
    return secrets.token_hex(16)


# What a transition needs to know of a job before.
SPIDER_NUMBER = (
    select(col(Spider.number)).where(col(Spider.id) == col(Job.spider_id)).correlate(Job).scalar_subquery()
)
_HELD: list[Any] = [
    *(getattr(Job, name) for name in ("id", "project_id", "number", "state", "stop_time", "task_id")),
    SPIDER_NUMBER.label("spider_number"),
]


def hold(session: Session, *conditions: Any, skip_locked: bool = False) -> Sequence[AnyRow]:
    """Jobs as they are, and as they stay until commit, for ``move``.

    They are locked in the order of their ids, so that no two who want the same ones wait crosswise.

    Args:
        skip_locked: pass over what somebody else is just changing.

    """
    # Plainly by id, SQLite would rather read the whole table in that order than use an index.
    found = select(*_HELD).where(*conditions).order_by(col(Job.id) + 0)
    return session.execute(found.with_for_update(of=Job, key_share=True, skip_locked=skip_locked)).all()


def key_of(row: AnyRow) -> JobKey:
    """The key of a job that is held."""
    return JobKey(row.project_id, row.spider_number, row.number)


def move(
    session: Session,
    rows: Sequence[AnyRow],
    state: JobState,
    by: str,
    event: str | None = None,
    **columns: Any,
) -> None:
    """Jobs that are held enter ``state``, which ends whatever right to run them there was.

    Args:
        event: instead of the usual one of the activity log.
        columns: further columns to write.

    """
    if not rows:
        return
    session.execute(
        update(Job)
        .where(col(Job.id).in_([row.id for row in rows]), col(Job.state).in_({row.state for row in rows}))
        .values({"token": None, "lease_time": None, **entered(state, by), **columns})
    )
    activity.happened(session, by, [(event or ENTERED[state], key_of(row)) for row in rows])


def revoke(session: Session, rows: Sequence[AnyRow]) -> None:
    """After commit, those of our workers that run these jobs look at their rows at once."""
    tasks = [row.task_id for row in rows if row.state == JobState.RUNNING and row.task_id is not None]
    if tasks:
        after_commit(session, partial(broker.revoke, tasks))
