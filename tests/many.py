"""A database with many rows of everything that grows, for tests of how it is asked."""

from typing import Any

from sqlalchemy import Connection, insert

from app import chunks
from app.models import (
    Activity,
    ApiKey,
    Chunk,
    Collection,
    CollectionRecord,
    Delivery,
    DeliveryState,
    Fingerprint,
    FrontierBatch,
    FrontierSlot,
    Job,
    JobState,
    JobTag,
    JobTagged,
    KeyProject,
    Login,
    PeriodicJob,
    PeriodicRun,
    Project,
    ProjectEgg,
    RunState,
    Spider,
    StrayObject,
    Version,
    VersionFile,
    VersionState,
    Webhook,
    Worker,
)
from app.services import apikeys, logins, workers

PROJECTS, SPIDERS, JOBS = 10, 10, 20_000  # half of the jobs are project 1's
OUTSIDE = PROJECTS + 1  # a project whose jobs are for workers of others
TOLD = PROJECTS + 2  # one with webhooks and no jobs
CHUNKS = 4000  # of one job; the others have one each
RECORDS = 8000  # of one of two collections, and fingerprints and batches of one of two slots
# Rows of what else grows: users, webhooks, deliveries, schedules, versions, empty collections …
OTHERS = 4500
RUNS = 1200  # of one schedule
WAITING = 6000  # jobs before all others in the queue; the first half is of spiders that nobody has deployed
# Tables that grow with use; of what is not here, there is a row for each project, spider or process.
LARGE = frozenset((
    "activity", "api_key", "chunk", "collection", "collection_record", "delivery", "fingerprint",
    "frontier_batch", "frontier_slot", "job", "job_tag", "job_tagged", "key_project", "login", "periodic_job",
    "periodic_run", "project_egg", "stray_object", "version", "version_file", "webhook",
))  # fmt: skip

RUNNING, FULL = 30, 31  # row ids of jobs: one that runs, and the one with many chunks
LATE = 1_700_000_000_000  # ms, in the past
NEVER = LATE * 2  # ms, in the future
DATA = chunks.pack([LATE] * 3, [b"{}"] * 3)
WIDE = {"a": "x" * 700}  # as rows of jobs really are: to read all narrow ones would be cheap
KEY, LOGIN, TOKEN = "k" * 32, "l" * 32, "t" * 32  # of user 1, of their browser, and of every running job


def state_of(n: int) -> JobState:
    """What has become of the job with the row id ``n``."""
    if n % 200 == 0:
        return JobState.PENDING
    if n % 200 == RUNNING:
        return JobState.RUNNING
    return JobState.DELETED if n % 21 == 2 else JobState.FINISHED


def job_row(n: int) -> dict[str, Any]:
    project = 1 if n % 2 else n // 2 % PROJECTS + 1
    spider = (project - 1) * SPIDERS + n // 20 % SPIDERS + 1
    state, moment = state_of(n), LATE + n
    return {
        "project_id": project, "spider_id": spider, "number": n, "state": state, "priority": n % 5,
        "state_time": moment, "updated_time": moment, "touched_time": moment, "pending_time": moment,
        "running_time": moment, "finished_time": moment, "deleted_time": moment,
        "purged": n % 1000 != 2, "compacted": n % 1000 != 1, "token": TOKEN if state == JobState.RUNNING else None,
        "lease_time": NEVER if state == JobState.RUNNING else None, "items": 3 * CHUNKS,
        "close_reason": "finished" if n % 3 else "cancelled", "scrapystats": WIDE,
    }  # fmt: skip


def waiting_row(n: int) -> dict[str, Any]:
    outside = n < WAITING // 2
    spider = (OUTSIDE if outside else 3) * SPIDERS - n % SPIDERS
    return {
        "project_id": OUTSIDE if outside else 3, "spider_id": spider, "number": JOBS + n, "state": JobState.PENDING,
        "priority": 4, "state_time": LATE + n, "updated_time": LATE, "touched_time": LATE, "pending_time": LATE,
        "compacted": False,
    }  # fmt: skip


def chunk_row(job_id: int, first: int) -> dict[str, Any]:
    return {
        "job_id": job_id, "kind": "items", "first": first, "count": 3, "first_time": LATE, "last_time": LATE,
        "size": 100, "counts": {"n": 3}, "input_bytes": 9, "data": DATA, "object_url": None,
    }  # fmt: skip


def _put(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    connection.execute(insert(table), rows)


def fill(connection: Connection) -> None:
    """Insert all of it; row ids count up from 1."""
    ids = range(1, JOBS + 1)
    _put(
        connection,
        Project,
        [{"name": f"p{n}", "created_time": 1, "version_id": n} for n in range(1, TOLD + 1)],
    )
    spiders = [
        {
            "project_id": p, "number": n, "name": f"s{n}", "deployed": p != OUTSIDE,
            "jobs": JOBS if p == 1 else 100,
        }
        for p in range(1, OUTSIDE + 1) for n in range(1, SPIDERS + 1)
    ]  # fmt: skip
    _put(connection, Spider, spiders)
    _put(connection, Job, [job_row(n) for n in ids])
    _put(connection, Job, [waiting_row(n) for n in range(WAITING)])
    tags = [{"job_id": n, "tag": "common" if n % 10 == 1 else f"rare{n % 1000}", "position": 0} for n in ids]
    _put(connection, JobTag, tags)
    _put(connection, JobTagged, [{"job_id": n, "time": LATE} for n in ids])
    _put(connection, Chunk, [chunk_row(n, 0) for n in ids if n != FULL])
    _put(connection, Chunk, [chunk_row(FULL, 3 * n) for n in range(CHUNKS)])
    _put(connection, Activity, [{"project_id": n % PROJECTS + 1, "time": n, "event": "{}"} for n in ids])
    _put(connection, StrayObject, [{"url": f"file:///x/{n}", "time": NEVER} for n in ids])
    _put(connection, Worker, [{"name": "w", "kind": workers.WORKER, "slots": 2000, "seen_time": NEVER}])
    _fill_users(connection)
    _fill_versions(connection)
    _fill_webhooks(connection)
    _fill_schedules(connection)
    _fill_collections(connection)


def _fill_users(connection: Connection) -> None:
    users = range(1, OTHERS + 1)
    hashes = {1: apikeys.digest(KEY)}
    keys = [{"name": f"u{n}", "hash": hashes.get(n, f"{n}"), "admin": n == 2} for n in users]
    _put(connection, ApiKey, [{**each, "created_time": 1} for each in keys])
    _put(connection, KeyProject, [{"key_id": n, "project_id": n % PROJECTS + 1} for n in users])
    digests = {1: logins._digest(LOGIN)}
    rows = [{"digest": digests.get(n, f"{n}"), "key_id": n} for n in users]
    _put(
        connection,
        Login,
        [{**each, "created_time": 1, "expires_time": NEVER + each["key_id"]} for each in rows],
    )


def _fill_versions(connection: Connection) -> None:
    rows = [
        {
            "project_id": n % PROJECTS + 1, "name": f"v{n // 100}", "state": VersionState.READY, "stack": None,
            "requirements": "", "spiders": [], "created_by": "u1", "created_time": 1, "log": "", "lease_time": None,
        }
        for n in range(1, OTHERS + 1)
    ]  # fmt: skip
    rows[-1]["state"] = VersionState.PENDING
    rows[-2] |= {"state": VersionState.BUILDING, "lease_time": NEVER}
    _put(connection, Version, rows)
    files = [(n, name) for n in range(1, OTHERS + 1) for name in ("__main__", "lib")]
    eggs = [{"version_id": n, "name": name, "sha256": f"{name}{n}", "data": b"egg"} for n, name in files]
    _put(connection, VersionFile, eggs)
    shared = [{"project_id": n % PROJECTS + 1, "name": f"e{n}", "sha256": f"e{n}"} for n in range(OTHERS)]
    _put(connection, ProjectEgg, [{**each, "version": "1", "data": b"egg"} for each in shared])


def _fill_webhooks(connection: Connection) -> None:
    """All but nine are those of a project without jobs: what happens to a job is told to three."""
    hooks = [
        {
            "project_id": n % 3 + 1 if n < 10 else TOLD, "url": f"http://x/{n}", "secret": "s", "events": [],
            "enabled": True, "created_by": "u1", "created_time": 1,
        }
        for n in range(1, OTHERS + 1)
    ]  # fmt: skip
    _put(connection, Webhook, hooks)
    states = (DeliveryState.PENDING, DeliveryState.FAILED)
    rows = [
        {
            "webhook_id": n % 9 + 1, "event": "job:started", "body": {"job": "1/1/1"}, "attempts": 1,
            "state": states[n % 2] if n % 10 < 2 else DeliveryState.DELIVERED, "next_time": LATE + n,
            "created_time": NEVER if n > 2 * OTHERS else 1, "tried_time": LATE + n,
        }
        for n in range(1, 4 * OTHERS + 1)
    ]  # fmt: skip
    _put(connection, Delivery, rows)


def _fill_schedules(connection: Connection) -> None:
    """Of the first one there are many runs; two of it wait. No other is due."""
    rows = [
        {
            "project_id": n % PROJECTS + 1, "description": "", "declared": None, "enabled": True, "paused_by": None,
            "cron": "* * * * *", "timezone": "UTC", "jitter_seconds": 0, "next_time": NEVER, "due_time": NEVER + n,
            "spiders": [{"name": "s1"}], "job_settings": None, "tags": None, "problem": None, "created_by": "u1",
            "created_time": 1, "updated_time": 1,
        }
        for n in range(1, OTHERS + 1)
    ]  # fmt: skip
    _put(connection, PeriodicJob, rows)
    runs = [{"periodic_id": 1, "fire_time": n, "state": RunState.STARTED} for n in range(RUNS)]
    runs += [{"periodic_id": n, "fire_time": 1, "state": RunState.STARTED} for n in range(2, OTHERS)]
    runs[0]["state"] = runs[1]["state"] = RunState.WAITING
    _put(connection, PeriodicRun, [{**each, "jobs": ["1/1/29"], "time": 1} for each in runs])


def _fill_collections(connection: Connection) -> None:
    keys = [(each, b"%08d" % n) for n in range(RECORDS) for each in (1, 2)]
    types = {1: "s", 2: "cs"}
    rows = [{"project_id": n % 2 + 1, "type": types.get(n, "s"), "name": f"c{n}"} for n in range(1, OTHERS)]
    _put(connection, Collection, rows)
    _put(
        connection,
        CollectionRecord,
        [{"collection_id": n, "key": k, "time": LATE, "value": b"{}"} for n, k in keys],
    )
    slots = [
        {"project_id": 1, "frontier": f"f{n % 100}", "slot": f"s{n}", "batches": RECORDS}
        for n in range(1, OTHERS)
    ]
    _put(connection, FrontierSlot, slots)
    _put(connection, Fingerprint, [{"slot_id": n, "fp": key, "fdata": None} for n, key in keys])
    batches = [{"slot_id": n, "priority": int(key) % 9, "number": int(key)} for n, key in keys]
    _put(connection, FrontierBatch, [{**each, "count": 1, "requests": b"[]"} for each in batches])
