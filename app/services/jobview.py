"""One job as a person looks at it: its row, what became of it in words, and what is known around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import now_ms
from app.errors import NotFound
from app.keys import JobKey
from app.models import Job, JobState, Spider
from app.services import jobboard, jobmeta, jobs, verdict
from app.services.verdict import Facts, Usual


@dataclass(frozen=True)
class View:
    """A job, read at one moment."""

    id: int
    key: JobKey
    job: Job  # apart from its session
    spider: str
    deployed: bool  # the current version has the spider
    tags: Sequence[str]
    now: int  # ms, on the database's clock
    why: str  # it waits
    usual: Usual | None

    @property
    def stopping(self) -> bool:
        """It was asked to stop and still runs."""
        return self.job.state == JobState.RUNNING and self.job.stop_time is not None

    @property
    def active(self) -> bool:
        """Will anything still happen to it by itself?"""
        return self.job.state in (JobState.PENDING, JobState.RUNNING)

    @property
    def ran(self) -> bool:
        """Has it ever run, here or elsewhere?"""
        return self.job.running_time is not None

    @property
    def runtime(self) -> int | None:
        """How long it has run, ms; None when it never did."""
        if self.job.running_time is None:
            return None
        end = self.now if self.job.state == JobState.RUNNING else self.job.finished_time
        return None if end is None else max(end - self.job.running_time, 0)

    @property
    def verdict(self) -> str:
        """What became of it, in a sentence."""
        job = self.job
        return verdict.sentence(
            Facts(
                state=job.state,
                close_reason=job.close_reason,
                runtime=self.runtime,
                items=job.items,
                errors=job.errors,
                why=self.why,
                stopping=self.stopping,
                cancelled_by=job.cancelled_by,
                usual=self.usual,
            )
        )


def load(session: Session, key: JobKey) -> View:
    """Read a job; a deleted one too.

    Raises:
        NotFound: there is no such job.

    """
    present = or_(col(Spider.deployed), col(Spider.declared)).label("present")
    statement: Any = (
        select(Job, col(Spider.name).label("spider"), col(Spider.deployed), present, now_ms().label("now"))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Job.id) == jobs.find(session, key))
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {key}.")
    job = row.Job
    session.expunge(job)
    why = ""
    if job.state == JobState.PENDING:
        waiting = select(col(Job.id), col(Spider.deployed), present).join(
            Spider, col(Spider.id) == col(Job.spider_id)
        )
        why = jobboard.waits(session, session.execute(waiting.where(col(Job.id) == job.id)).all()).get(
            job.id, ""
        )
    return View(
        id=job.id,
        key=key,
        job=job,
        spider=row.spider,
        deployed=row.deployed,
        tags=jobmeta.tags_of(session, [job.id]).get(job.id, ()),
        now=row.now,
        why=why,
        usual=verdict.usual(session, job),
    )
