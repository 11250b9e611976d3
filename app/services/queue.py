"""The job queue for workers of others: jobs are pushed, started, moved on and cancelled (contract 6.8-6.11).

A job that was started here runs outside: it has a token, but no lease and no task of ours.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import broker
from app.db import AnyRow, execute, now_ms
from app.errors import BadParameter
from app.keys import JobKey
from app.models import Job, JobState, JobTag, Project, Spider
from app.services import activity, joblist, jobmeta, jobs, projects
from app.services.activity import ENTERED
from app.services.transitions import SPIDER_NUMBER, entered, hold, key_of, move, new_token, revoke

ORDER = (JobState.PENDING, JobState.RUNNING, JobState.FINISHED, JobState.DELETED)  # no job goes back
MOST_SPIDERS = 500  # of one push: each costs some statements, while all writers wait
SORTED = 1000  # waiting jobs of a project; of more, the first one is looked for along the queue
ANNOUNCED = 100  # jobs of one push that workers are told of at once; the reconciler tells of the others
STARTED = {"_shub_worker": "kumo"}  # what the service's own records have (contract 7.3)


# Pushing


@dataclass(frozen=True)
class Pushed:
    """A job to be."""

    spider: str
    fields: jobmeta.Fields
    state: JobState = JobState.PENDING
    unique: str | None = None


@dataclass(frozen=True)
class Made:
    """A job that was pushed; it has a token when it was born running."""

    key: JobKey
    token: str | None


def unique_key(unique: str) -> str:
    """What two jobs share when the second push is refused; never that of a dash job."""
    return hashlib.sha256(orjson.dumps(["unique", unique])).hexdigest()


def push(session: Session, project_id: int, new: Sequence[Pushed], by: str) -> list[Made | None]:
    """Insert jobs in that order; None stands for one whose ``unique`` an active job has (contract 6.8).

    1. The project is held first, then its spiders in the order of their ids: two pushes of many jobs
       queue here, and never wait crosswise for each other's spiders or unique names.
    2. A job that is refused uses up its number, as recorded (contract 7.2).

    Raises:
        BadParameter: no spider can have that name, or there are too many.

    """
    if len({each.spider for each in new}) > MOST_SPIDERS:
        raise BadParameter(f"more than {MOST_SPIDERS} spiders in one push")
    if len(new) > 1:
        held = select(col(Project.id)).where(col(Project.id) == project_id)
        session.execute(held.with_for_update(key_share=True))
    spiders = _take_numbers(session, project_id, Counter(each.spider for each in new))
    made: list[Made | None] = []
    tags: list[dict[str, Any]] = []
    waiting: list[int] = []  # priorities
    for each in new:
        spider = spiders[each.spider]
        spider.last += 1
        token = new_token() if each.state == JobState.RUNNING else None
        row = _row(project_id, spider, each, token)
        job_id = jobs.insert_row(session, each.state, by, row)
        if job_id is None:
            made.append(None)
            continue
        made.append(Made(JobKey(project_id, spider.number, spider.last), token))
        for place, tag in enumerate(each.fields.tags or ()):
            tags.append({"job_id": job_id, "tag": tag, "position": place})
        if each.state == JobState.PENDING and spider.deployed:
            waiting.append(row["priority"])
    if tags:
        session.execute(insert(JobTag), tags)
    pairs = zip(new, made, strict=True)
    activity.happened(session, by, [(ENTERED[each.state], job.key) for each, job in pairs if job])
    for priority in waiting[:ANNOUNCED]:
        broker.wake_after_commit(session, priority)
    return made


@dataclass
class _Numbered:
    """A spider, and the last of its job numbers that is in use."""

    id: int
    number: int
    deployed: bool
    last: int


def _take_numbers(session: Session, project_id: int, wanted: Mapping[str, int]) -> dict[str, _Numbered]:
    for name in wanted:
        projects.check_name(name)
    mine = col(Spider.project_id) == project_id
    named = mine & col(Spider.name).in_(wanted)
    known = set(session.scalars(select(col(Spider.name)).where(named)))
    for name in sorted(set(wanted) - known):
        projects.add_spider(session, project_id, name)
    ids = select(col(Spider.id), col(Spider.name)).where(named).order_by(col(Spider.id))
    spiders: dict[str, _Numbered] = {}
    for spider_id, name in session.execute(ids).all():
        taken = execute(
            session,
            update(Spider)
            .where(col(Spider.id) == spider_id)
            .values(jobs=Spider.jobs + wanted[name])
            .returning(col(Spider.number), col(Spider.deployed), col(Spider.jobs)),
        ).one()
        spiders[name] = _Numbered(spider_id or 0, taken.number, taken.deployed, taken.jobs - wanted[name])
    return spiders


def _row(project_id: int, spider: _Numbered, new: Pushed, token: str | None) -> dict[str, Any]:
    meta = dict(new.fields.meta)
    if new.fields.tags is not None:
        meta["tags"] = []  # remembers that there is such a field, though it may be empty
    columns = dict.fromkeys(jobmeta.WRITABLE) | jobmeta.DEFAULTS | new.fields.columns
    return {
        **columns,
        "project_id": project_id,
        "spider_id": spider.id,
        "number": spider.last,
        "duplicate_key": None if new.unique is None else unique_key(new.unique),
        "meta": meta or None,
        "token": token,
        "pushed": True,
    }


# Starting


def start(session: Session, project_id: int, fields: dict[str, Any], by: str) -> dict[str, Any] | None:
    """Give the project's next pending job to somebody outside, whether or not our workers could run it.

    As with ``jobs.claim``, the row is locked and the state it leaves is named: no two get the same job.

    Args:
        fields: metadata to write.

    Returns: ``key``, ``auth`` (the token) and all metadata; None when nothing is pending.

    Raises:
        BadParameter, TooLarge: as ``jobmeta.update``.

    """
    token = new_token()
    few = not joblist.many_wait(session, project_id, SORTED)
    # Adding nought keeps SQLite from sorting them, however many they are.
    mine = (col(Job.project_id) if few else col(Job.project_id) + 0) == project_id
    row = execute(
        session,
        update(Job)
        .where(col(Job.id) == jobs.best_pending(mine, few=few), col(Job.state) == JobState.PENDING)
        .values(token=token, **entered(JobState.RUNNING, by))
        .returning(col(Job.id), col(Job.project_id), col(Job.number), SPIDER_NUMBER.label("spider_number")),
    ).one_or_none()
    if row is None:
        return None
    jobmeta.update(session, row.id, {**STARTED, **fields})
    activity.happened(session, by, [(ENTERED[JobState.RUNNING], key_of(row))])
    ours = {"key": str(key_of(row)), "auth": token}
    return {**ours, **jobmeta.show(session, [row.id])[0], **ours}


def serves(session: Session, project_id: int, botgroup: str) -> bool:
    """Does the project want its jobs to be run by that group (contract 6.9)?"""
    named = projects.setting(session, project_id, "botgroups")
    return isinstance(named, list) and botgroup in named


# Moving on


@dataclass(frozen=True)
class Change:
    """What is to become of jobs: the state they enter, if any, and metadata to write."""

    state: JobState | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    def may(self, row: AnyRow) -> bool:
        """Can the job do that? None ever goes back; to stay what it is changes nothing."""
        return self.state is None or ORDER.index(self.state) >= ORDER.index(row.state)


Affected = tuple[JobKey, str]  # a job, and the state it was in


def change(
    session: Session, changes: Sequence[tuple[JobKey, Change]], by: str, *, strict: bool
) -> list[Affected]:
    """Carry out changes, one after the other; unknown jobs are passed over (contract 6.10).

    Args:
        strict: a job that would have to go back is an error; else it is passed over, as it must be among
            many, of which some are done already.

    A job that one of our workers runs and that is ended here is taken from it.

    Raises:
        BadParameter: a job would have to go back. And, with TooLarge, as ``jobmeta.update``.

    """
    named = jobs.ids_of(session, [key for key, _ in changes])
    # All of them first, in one order; each is looked at again when its turn comes, it may come twice.
    ids = {key_of(row): row.id for row in hold(session, col(Job.id).in_(named))}
    affected: list[Affected] = []
    for key, each in changes:
        for row in hold(session, col(Job.id) == ids[key]) if key in ids else ():
            if not each.may(row):
                if strict:
                    raise BadParameter(f"job {key} is {row.state}, it cannot become {each.state}")
                continue
            affected += _apply(session, [row], each, by)
    return affected


def change_all(session: Session, ids: Sequence[int], to: Change, by: str) -> list[Affected]:
    """One change of the jobs with these row ids; those that would have to go back are passed over.

    Raises:
        BadParameter, TooLarge: as ``jobmeta.update``.

    """
    rows = hold(session, col(Job.id).in_(ids), col(Job.state) != JobState.DELETED)
    return _apply(session, [row for row in rows if to.may(row)], to, by)


def _apply(session: Session, rows: Sequence[AnyRow], to: Change, by: str) -> list[Affected]:
    fields = jobmeta.checked(to.fields)
    moving = [row for row in rows if to.state is not None and row.state != to.state]
    if to.state == JobState.RUNNING:
        for row in moving:
            move(session, [row], to.state, by, **fields.columns, token=new_token())
    elif to.state is not None:
        columns = dict(fields.columns)
        if to.state == JobState.FINISHED:
            columns["close_reason"] = jobs.outcome(columns.get("close_reason", Job.close_reason))
        move(session, moving, to.state, by, **columns)
        revoke(session, moving)
    staying = {row.id for row in rows} - {row.id for row in moving}
    if staying and fields.columns:
        changed = {"updated_time": now_ms(), "touched_time": now_ms(), **fields.columns}
        session.execute(update(Job).where(col(Job.id).in_(staying)).values(changed))
    if fields.meta or fields.tags is not None:
        others = {name: value for name, value in to.fields.items() if name not in fields.columns}
        for row in rows:
            jobmeta.update(session, row.id, others)
    return [(key_of(row), row.state) for row in rows]


def of_spider(session: Session, project_id: int, spider: int) -> Sequence[int]:
    """Row ids of all jobs of a spider that are not deleted, by number; 8 bytes each."""
    statement = (
        select(col(Job.id))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Spider.project_id) == project_id, col(Spider.number) == spider)
        .where(col(Job.state) != JobState.DELETED)
        .order_by(col(Job.number))
    )
    return array("q", session.scalars(statement, execution_options={"yield_per": 10_000}))


# Cancelling


def cancel_some(session: Session, project_id: int, state: JobState, limit: int, by: str) -> int:
    """Cancel at most ``limit`` jobs of the project that are in ``state`` and not cancelled yet, the oldest
    first; returns how many it were, 0 when none is left.
    """
    mine = col(Job.project_id) == project_id
    some = select(col(Job.id)).where(mine, col(Job.state) == state, col(Job.stop_time).is_(None))
    oldest = some.order_by(col(Job.state_time), col(Job.id)).limit(limit)
    return jobs.stop(session, hold(session, col(Job.id).in_(oldest), skip_locked=True), by)
