"""Jobs that disappear for good, from whatever state (contract 6.7, 7.1).

1. ``hide``: the job is deleted. Nobody can write to it from now on, and no list shows it.
2. ``records.purge_some``, until there is nothing left: each part a transaction, so that others get in.
3. ``forget``: the row goes, with what hangs on it.

A process that dies in between leaves a deleted job: the reconciler removes its records, and the next
request the rest.
"""

from sqlalchemy import delete
from sqlalchemy.orm import Session
from sqlmodel import col

from app.models import Job, JobState
from app.services.transitions import hold, move, revoke


def hide(session: Session, job_id: int, by: str) -> None:
    """Make a job deleted, unless it is; whoever runs it finds that it is not their own any more."""
    rows = hold(session, col(Job.id) == job_id, col(Job.state) != JobState.DELETED)
    move(session, rows, JobState.DELETED, by)
    revoke(session, rows)


def forget(session: Session, job_id: int) -> None:
    """Remove the row of a deleted job, with its tags, comments and reports."""
    session.execute(delete(Job).where(col(Job.id) == job_id, col(Job.state) == JobState.DELETED))
