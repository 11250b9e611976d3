"""Small factories: what a test begins with, made through the services, each call a transaction of its own."""

import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import count
from threading import Barrier
from typing import Any

import orjson
import pytest
from sqlalchemy import select, update
from sqlmodel import col

from app import broker, db
from app.keys import JobKey
from app.models import Job, JobState, Kind, PeriodicJob, PeriodicRun, metadata
from app.services import apikeys, jobs, periodic, plans, projects, records, versions
from app.services.joblist import Filter, page
from app.services.jobs import Claimed, NewJob

_numbers = count(1)


def make_project(project_id: int = 2, spiders: Sequence[str] = ("quotes",)) -> int:
    with db.transaction() as session:
        projects.create(session, f"project {project_id}", project_id)
        projects.set_deployed(session, project_id, spiders)
    return project_id


def make_key(name: str = "guest", **rights: Any) -> str:
    """A key without rights, unless ``projects`` or ``admin`` are given."""
    with db.transaction() as session:
        return apikeys.create(session, name, **rights)


def make_job(spider: str = "quotes", project: int = 1, **fields: Any) -> JobKey:
    """A job, pending unless ``state`` is given; its argument ``n`` differs from all others."""
    fields.setdefault("args", {"n": str(next(_numbers))})
    with db.transaction() as session:
        return jobs.schedule(session, project, NewJob(spider, **fields), "admin")


def finished_job(**fields: Any) -> JobKey:
    """A job that was born finished."""
    return make_job(state=JobState.FINISHED, **fields)


def running_job(**fields: Any) -> Claimed:
    """A job that we own; no other of its priority, 4, may be pending."""
    key = make_job(priority=4, **fields)
    claimed = claim()
    assert claimed is not None
    assert claimed.key == key
    return claimed


def claim(worker: str = "worker", task_id: str = "task") -> Claimed | None:
    with db.transaction() as session:
        return jobs.claim(session, worker, task_id)


def finish(job: Claimed, reason: str = "finished") -> bool:
    with db.transaction() as session:
        return jobs.finish(session, job.id, job.token, reason)


def row(key: JobKey) -> Job:
    with db.reading() as session:
        job = session.get(Job, jobs.find(session, key))
        assert job is not None
        session.expunge(job)
        return job


def change(key: JobKey, **columns: Any) -> None:
    """Write columns as they are: times in the past, above all."""
    with db.transaction() as session:
        session.execute(update(Job).where(col(Job.id) == jobs.find(session, key)).values(**columns))


def states() -> dict[str, str]:
    """The state of every job of project 1 by key, deleted ones too."""
    with db.reading() as session:
        found = page(session, Filter(1, states=list(JobState)), 10_000, 0)
    return {f"{each.project_id}/{each.spider_number}/{each.number}": each.state for each in found}


def batch(kind: Kind, values: Iterable[Any], first: int = 0, time: int = 1_000_000) -> records.Batch:
    lines = [orjson.dumps(value) for value in values]
    return records.pack(kind, first, [time + place for place in range(len(lines))], lines)


def append(job: Claimed, *batches: records.Batch, stats: dict[str, Any] | None = None) -> bool:
    placed = records.placed(batches)
    with db.transaction() as session:
        return records.append(session, job.id, job.token, placed, stats)


def job_with_items(values: Iterable[Any], chunk: int = 3, **fields: Any) -> Claimed:
    """A running job with items in chunks of ``chunk``."""
    job, values = running_job(**fields), list(values)
    for first in range(0, len(values), chunk):
        assert append(job, batch(Kind.ITEMS, values[first : first + chunk], first))
    return job


def log_entry(message: str, level: int = 20, time: int = 1_700_000_000_000) -> dict[str, Any]:
    return {"time": time, "level": level, "message": message}


def make_version(
    name: str = "1", spiders: Sequence[str] = ("quotes",), project: int = 1, requirements: str = ""
) -> int:
    """A version that was built and is the current one."""
    version_id = pending_version(name, project, requirements=requirements)
    with db.transaction() as session:
        assert versions.claim_build(session, version_id)
        assert versions.activate(session, version_id, "proj.settings", spiders)
    return version_id


def pending_version(name: str = "1", project: int = 1, *, requirements: str = "") -> int:
    with db.transaction() as session:
        eggs = [(versions.MAIN_EGG, f"code of {name}".encode())]
        return versions.add(session, project, name, eggs, requirements=requirements, stack=None, by="admin")


def make_periodic(project: int = 1, **fields: Any) -> int:
    """A schedule, daily at five unless ``cron`` is given."""
    plan = plans.parse({"cron": "0 5 * * *", "spiders": ["quotes"], **fields})
    with db.transaction() as session:
        return periodic.create(session, project, plan, "admin")


def change_periodic(periodic_id: int, **columns: Any) -> None:
    """Write columns as they are: times in the past, above all."""
    with db.transaction() as session:
        session.execute(update(PeriodicJob).where(col(PeriodicJob.id) == periodic_id).values(**columns))


def runs_of(periodic_id: int) -> list[PeriodicRun]:
    """What became of its fire times, the first one first."""
    with db.reading() as session:
        mine = select(PeriodicRun).where(col(PeriodicRun.periodic_id) == periodic_id)
        found = list(session.scalars(mine.order_by(col(PeriodicRun.fire_time))))
        session.expunge_all()
        return found


def zipped(**files: str) -> bytes:
    """A zip file, which is all that storing an egg asks for."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {"code.py": "", **files}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def everything() -> dict[str, list[Any]]:
    """Every row of every table, to show that nothing was changed."""
    with db.reading() as session:
        return {
            table.name: [
                tuple(found) for found in session.execute(select(table).order_by(*table.primary_key))
            ]
            for table in metadata.sorted_tables
        }


def at_once(threads: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``work(n)`` returned, or the exception it raised, of threads that begin together."""
    barrier = Barrier(threads)

    def begin(n: int) -> Any:
        barrier.wait()
        try:
            return work(n)
        except Exception as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(begin, range(threads)))


def fake_revoke(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Catch what would be revoked: there is no broker. Returns the task ids of each call."""
    calls: list[list[str]] = []
    monkeypatch.setattr(broker._sender, "broadcast", lambda _, arguments: calls.append(arguments["task_id"]))
    return calls
