"""What a job's records are like, as their chunks have counted it: fields of items, levels, statuses."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.models import Chunk, Kind
from app.services import records
from app.services.records import STATUS

MOST_CHUNKS = 2000  # that are added up, the last ones


@dataclass(frozen=True)
class Coverage:
    """What was counted."""

    counts: dict[str, int]  # how many items have each field, requests each status, log entries each level
    seen: int  # records that were counted
    total: int  # records that there are

    @property
    def complete(self) -> bool:
        """Was every record counted?"""
        return self.seen >= self.total


def of_job(session: Session, job_id: int, kind: Kind) -> Coverage:
    """Of a very large job, that of its last records; chunks of earlier releases may not have been counted."""
    statement = (
        select(col(Chunk.count), col(Chunk.counts))
        .where(col(Chunk.job_id) == job_id, col(Chunk.kind) == kind)
        .order_by(col(Chunk.first).desc())
        .limit(MOST_CHUNKS)
    )
    counts: Counter[str] = Counter()
    seen = 0
    for number, fields in session.execute(statement):
        if kind == Kind.REQUESTS:
            fields = _statuses(fields or {})  # noqa: PLW2901
        if fields or (fields is not None and kind == Kind.ITEMS):
            counts.update(fields)
            seen += number
    return Coverage(dict(counts), seen, records.total(session, job_id, kind))


def _statuses(fields: dict[str, int]) -> dict[str, int]:
    return {name.removeprefix(STATUS): number for name, number in fields.items() if name.startswith(STATUS)}
