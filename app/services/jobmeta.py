"""Metadata of jobs: shown, merged, removed (contract 6.7, 7.3, 7.4)."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sql
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, among, execute, now_ms
from app.errors import BadParameter, TooLarge
from app.jsonlines import LARGEST_VALUE, dumps, value_json
from app.keys import JobKey
from app.models import Job, JobState, JobTag, Spider
from app.prepared import Prepared
from app.settings import settings

NAME_LENGTH = 255  # characters of a tag or a version
REASON_LENGTH = 255  # characters of a close reason, contract 7.5
VARIABLE_LENGTH = 32_000  # characters of an environment variable; the kernel takes 128 KiB with the name
LARGEST_META = 4 << 20  # bytes of all fields of a job that have no column

# Columns that are shown under their own names when they are not NULL.
TIMES = ("pending_time", "running_time", "finished_time", "deleted_time", "updated_time")
AUTHORS = ("scheduled_by", "started_by", "completed_by", "cancelled_by", "deleted_by")
COUNTERS = ("items", "pages", "logs", "errors")
WRITABLE = (
    "priority", "units", "version", "close_reason", "spider_args", "job_settings", "environment",
    "job_cmd", "scrapystats",
)  # fmt: skip
PLAIN = ("state", *WRITABLE, *AUTHORS, *TIMES)
# What the platform says of the jobs that it makes itself, and not of those made through the queue.
OWN = ("spider_type", "api_url", "portia_url", "portia_stack_version")
# Whoever sends these back, as clients do that read, merge and write the whole, changes nothing.
STAMPED = frozenset(("auth", "_key", "key", "state", "project", "spider", *TIMES, *AUTHORS, *COUNTERS))
DEFAULTS = {"priority": 2, "units": 1}  # what stands when such a field is removed


# Showing


@dataclass(frozen=True)
class Shown:
    """A job as it is shown."""

    key: JobKey
    ts: int  # ms, when it entered its state
    age: int  # ms since then, on the database's clock
    fields: dict[str, Any]


def show(session: Session, ids: Sequence[int]) -> list[dict[str, Any]]:
    """The metadata object of each job (contract 7.3), in the order of the row ids; unknown ones are left out.

    Of thousands of jobs ask for some at a time: all that is known of them is in memory.
    """
    found = by_id(session, ids)
    return [found[job_id].fields for job_id in ids if job_id in found]


def by_id(session: Session, ids: Sequence[int], names: Collection[str] | None = None) -> dict[int, Shown]:
    """The metadata of jobs by row id.

    Args:
        names: only these fields, and no more is read than they need; None: all.

    """

    def asked(name: str) -> bool:
        return names is None or name in names

    columns: list[Any] = [
        getattr(Job, name) for name in ("id", "number", "project_id", "state_time", "pushed", "worker")
    ]
    columns += [getattr(Job, name) for name in (*PLAIN, *COUNTERS) if asked(name)]
    for name in ("number", "name", "type"):
        columns.append(getattr(Spider, name).label(f"spider_{name}"))
    columns.append((now_ms() - col(Job.state_time)).label("age"))
    if names is None or not set(names) <= {"project", "spider", *PLAIN, *COUNTERS}:
        columns.append(col(Job.meta))
    found = select(*columns).join(Spider, col(Spider.id) == col(Job.spider_id)).where(among(Job.id, "ids"))
    rows = session.execute(found, {"ids": ids}).all()
    tags = tags_of(session, ids) if asked("tags") else {}
    shown = {}
    for row in rows:
        fields = _fields(row, tags.get(row.id, []))
        if names is not None:
            fields = {name: value for name, value in fields.items() if name in names}
        key = JobKey(row.project_id, row.spider_number, row.number)
        shown[row.id] = Shown(key, row.state_time, row.age, fields)
    return shown


def token(session: Session, job_id: int) -> str | None:
    """What a job may write with while it runs, which is the field ``auth``; never part of the others."""
    running = (col(Job.id) == job_id) & (col(Job.state) == JobState.RUNNING)
    return session.scalar(select(col(Job.token)).where(running))


_TAGS = Prepared(
    select(col(JobTag.job_id), col(JobTag.tag))
    .where(among(JobTag.job_id, "ids"))
    .order_by(col(JobTag.job_id), col(JobTag.position))
)


def tags_of(session: Session, ids: Sequence[int]) -> dict[int, list[str]]:
    """The tags of each job that has any, in the order they were added."""
    found: dict[int, list[str]] = {}
    for job_id, tag in _TAGS(session, {"ids": ids}):
        found.setdefault(job_id, []).append(tag)
    return found


def _fields(row: AnyRow, tags: list[str]) -> dict[str, Any]:
    columns = row._mapping
    meta = columns.get("meta") or {}
    job: dict[str, Any] = {"project": row.project_id, "spider": row.spider_name}
    job |= {name: columns[name] for name in PLAIN if columns.get(name) is not None}
    if tags or not row.pushed or "tags" in meta:
        job["tags"] = tags
    # A job that none of our workers ran may have been counted elsewhere: nought says nothing then.
    job |= {name: columns[name] for name in COUNTERS if columns.get(name) or (row.worker and name in columns)}
    if not row.pushed:
        site = settings().url
        own = (row.spider_type, f"{site}/api/", f"{site}/", "latest")
        job |= dict(zip(OWN, own, strict=True))
    # The columns win: whatever is in `meta`, no field of the platform can be forged.
    return {**meta, **job}


# Writing


@dataclass(frozen=True)
class Fields:
    """Metadata fields that were checked, by where they are kept."""

    columns: dict[str, Any]
    meta: dict[str, Any]
    tags: list[str] | None  # None: nothing was said of them


def checked(fields: dict[str, Any]) -> Fields:
    """Sort fields by where they are kept, without those that only the platform writes (``STAMPED``).

    Raises:
        BadParameter: a value is of the wrong type, out of range, or nested too deeply.
        TooLarge: a value has more than 1 MiB.

    """
    columns: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    tags = None
    for name, value in fields.items():
        if name in STAMPED:
            continue
        value_json(value)  # it can be stored, and shown
        if name == "tags":
            tags = _tags(value)
        elif name not in WRITABLE:
            meta[name] = value
        elif value is None and name not in DEFAULTS:
            columns[name] = None
        else:
            columns[name] = _CHECKS[name](name, value)
    return Fields(columns, meta, tags)


def update(session: Session, job_id: int, fields: dict[str, Any], *, token: str | None = None) -> bool:
    """Merge fields into the metadata of a job in any state (contract 6.7, 7.4).

    Silently passed over is what only the platform writes: auth, _key, key, state, project, spider, the
    times and the names of who did what, the counters; of jobs not made through the queue also
    spider_type, api_url, portia_url and portia_stack_version.

    Args:
        token: of the job when it writes itself; None: somebody with a key.

    Returns: False when there is no such job, or it does not run under the token; nothing was written then.

    Raises:
        BadParameter, TooLarge: as ``checked``; or the fields without a column have more than 4 MiB.

    """
    new = checked(fields)
    mine = [col(Job.id) == job_id]
    if token is not None:
        mine += [col(Job.state) == JobState.RUNNING, col(Job.token) == token]
    held = _hold(session, mine, new.columns)
    if held is None:
        return False
    added = {name: value for name, value in new.meta.items() if held.pushed or name not in OWN}
    if new.tags is not None:
        _write_tags(session, job_id, new.tags)
        if held.pushed:
            added["tags"] = []  # remembers that there is such a field, though it may be empty
    if added:
        _write_meta(session, job_id, {**(held.meta or {}), **added})
    return True


def remove(session: Session, job_id: int, field: str) -> bool:
    """Remove one field; priority and units fall back to their defaults, what only the platform writes stays.

    Returns: False when there is no such job.
    """
    gone = {field: DEFAULTS.get(field)} if field in WRITABLE else {}
    held = _hold(session, [col(Job.id) == job_id], gone)
    if held is None:
        return False
    if field == "tags":
        _write_tags(session, job_id, [])
    if field in (held.meta or {}):
        _write_meta(session, job_id, {name: held.meta[name] for name in held.meta if name != field})
    return True


def _hold(session: Session, which: Sequence[Any], columns: dict[str, Any]) -> AnyRow | None:
    """Write columns, and with that hold the row until commit, so that nobody changes ``meta`` meanwhile."""
    changed = {"updated_time": now_ms(), "touched_time": now_ms(), **columns}
    statement = sql.update(Job).where(*which).values(changed).returning(col(Job.meta), col(Job.pushed))
    return execute(session, statement).one_or_none()


def _write_meta(session: Session, job_id: int, meta: dict[str, Any]) -> None:
    if len(dumps(meta)) > LARGEST_META:
        raise TooLarge(f"the metadata of a job is larger than {LARGEST_META} bytes")
    session.execute(sql.update(Job).where(col(Job.id) == job_id).values(meta=meta or None))


def _write_tags(session: Session, job_id: int, tags: Sequence[str]) -> None:
    session.execute(sql.delete(JobTag).where(col(JobTag.job_id) == job_id))
    if tags:
        rows = [{"job_id": job_id, "tag": tag, "position": place} for place, tag in enumerate(tags)]
        session.execute(sql.insert(JobTag), rows)


# Checks: the value as it is kept, or BadParameter


def _wrong(name: str, why: str) -> BadParameter:
    return BadParameter(f"invalid value for {name}: {why}")


def _text(name: str, value: Any, length: int = NAME_LENGTH) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "not a text")
    if "\0" in value:  # no text of PostgreSQL can hold it, and no argument of a process
        raise _wrong(name, "NUL character")
    if len(value) > length:
        raise _wrong(name, f"longer than {length} characters")
    return value


def _tags(value: Any) -> list[str]:
    if not isinstance(value, list | None):
        raise _wrong("tags", "not a list of texts")
    tags = list(dict.fromkeys(_text("tags", tag) for tag in value or ()))
    if "" in tags:
        raise _wrong("tags", "empty")
    return tags


def _between(low: int, high: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _wrong(name, f"not a whole number from {low} to {high}")
        return value

    return check


def _reason(name: str, value: Any) -> str:
    return _text(name, value, LARGEST_VALUE)[:REASON_LENGTH]


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(name, "not a JSON object")
    return value


def _variables(name: str, value: Any) -> dict[str, Any]:
    """Names and values that a process can be given: on its command line, or in its environment."""
    for variable, content in _object(name, value).items():
        _text(name, variable)
        if not variable or "=" in variable:
            raise _wrong(name, f"{variable[:50] or 'empty name'}: a name has no =")
        if isinstance(content, dict | list):
            raise _wrong(name, f"{variable[:50]} is not a text")
        if isinstance(content, str):
            _text(name, content, VARIABLE_LENGTH if name == "environment" else LARGEST_VALUE)
    return cast("dict[str, Any]", value)


def _command(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise _wrong(name, "not a list of texts")
    return [_text(name, word, LARGEST_VALUE) for word in value]


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "priority": _between(0, 4),
    "units": _between(1, 6),
    "version": _text,
    "close_reason": _reason,
    "spider_args": _variables,
    "job_settings": _object,
    "environment": _variables,
    "job_cmd": _command,
    "scrapystats": _object,
}
