"""All projects on one page: what waits, what runs, and how the last day went."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal, select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import now_ms
from app.models import Job, JobState, Project, Version
from app.services import jobboard

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Overview:
    """A project, its numbers of jobs, and the outcomes of the last 24 hours, the most frequent first."""

    id: int
    name: str
    version: str | None
    pending: int
    running: int
    outcomes: list[tuple[str, int]]


def of(session: Session, ids: Sequence[int]) -> list[Overview]:
    """These projects, by id."""
    mine = col(Project.id).in_(ids)
    version = select(col(Version.name)).where(col(Version.id) == col(Project.version_id)).scalar_subquery()
    statement = select(col(Project.id), col(Project.name), version.label("version")).where(mine)
    found = session.execute(statement.order_by(col(Project.id))).all()
    since = (session.scalar(select(now_ms())) or 0) - DAY_MS
    rows = []
    for project in found:
        lately = jobboard.outcomes(session, project.id, since)
        counted = sorted(((reason, number or 0) for reason, number in lately), key=lambda each: -each[1])
        pending, running = (
            _number(session, project.id, state) for state in (JobState.PENDING, JobState.RUNNING)
        )
        rows.append(Overview(project.id, project.name, project.version, pending, running, counted))
    return rows


def _number(session: Session, project: int, state: JobState) -> int:
    """How many jobs are in the state, counted as far as ``jobboard`` counts."""
    some = select(literal(1)).where(col(Job.project_id) == project, col(Job.state) == state)
    return session.scalar(select(func.count()).select_from(some.limit(jobboard.COUNTED).subquery())) or 0
