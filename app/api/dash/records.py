"""items.* and log.*: what a job has produced, while it runs and after (contract 4.7, 4.8)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson
from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app import jsonlines
from app.api import formats
from app.api.dash.wire import COUNT, JSON_CAP, OFFSET, PROJECT, Call, enter, paging
from app.api.params import Param, Params, describe
from app.api.streams import Stream
from app.db import reading
from app.errors import BadParameter, NotFound
from app.keys import JobKey
from app.models import JobState, Kind
from app.services import joblist, jobs, reader, records

router = APIRouter(tags=["records"])

JOB = Param("job", "key of the job, P/S/J")
ITEMS = (
    PROJECT,
    JOB,
    Param("spider", "instead of job: the last finished job of this spider"),
    COUNT,
    OFFSET,
    Param("meta", "add this field to each item", repeat=True, values=("_key", "_ts")),
)
CSV = (
    Param("fields", "columns, separated by commas", required=True),
    Param(
        "include_headers", "1: the first row has the names of the columns", required=True, values=("0", "1")
    ),
)
LOG = (
    PROJECT,
    Param("job", "key of the job, P/S/J", required=True),
    Param("level", "lowest level to answer", values=list(formats.LEVELS.values())),
    COUNT,
    OFFSET,
)
LINE_LENGTH = 4096  # of the list of CSV fields


@dataclass(frozen=True)
class Wanted:
    """Records of one job."""

    job_id: int
    key: JobKey
    start: int
    stop: int

    def blocks(self, kind: Kind, *, times: bool = False) -> Iterator[reader.Block]:
        """Read them."""
        return reader.read(self.job_id, kind, self.start, self.stop, times=times)


def _job(session: Session, params: Params, project: int, *, spider: bool) -> tuple[int, JobKey]:
    keys = params.job_keys("job", project)
    name = params.maybe("spider") if spider else None
    if len(keys) > 1:
        raise BadParameter("invalid value for job: given more than once")
    if not keys and name:
        return _last_finished(session, project, name)
    if not keys:
        raise BadParameter("missing 'job' argument")
    job_id = jobs.find(session, keys[0])
    if job_id is None:
        raise NotFound(f"unknown job: {keys[0]}")
    return job_id, keys[0]


def job_of(session: Session, params: Params, project: int) -> tuple[int, JobKey]:
    """Row id and key of the parameter ``job``, a job of the project.

    Raises:
        BadParameter, NotFound: it is none.

    """
    return _job(session, params, project, spider=False)


def _last_finished(session: Session, project: int, spider: str) -> tuple[int, JobKey]:
    wanted = joblist.Filter(project, spider=spider, states=[JobState.FINISHED])
    rows = joblist.page(session, wanted, 1, 0)
    if not rows:
        raise NotFound(f"spider {spider} has no finished job")
    return rows[0].id, joblist.key_of(rows[0])


def _range(total: int, count: int, offset: int) -> tuple[int, int]:
    """First index and the one after the last, of ``count`` (negative: the last ones) after ``offset``."""
    if count < 0:
        return max(total + count, 0), total
    return min(offset, total), min(offset + count, total)


def _items(call: Call, cap: int | None = None) -> tuple[Iterable[reader.Block], Params]:
    with reading() as session:
        _, params, project = enter(session, call)
        job_id, key = _job(session, params, project, spider=True)
        total = records.total(session, job_id, Kind.ITEMS)
        wanted = Wanted(job_id, key, *_range(total, *paging(params, cap)))
    meta = params.choice("meta", ("_key", "_ts"))
    blocks = wanted.blocks(Kind.ITEMS, times="_ts" in meta)
    return (formats.with_meta(blocks, meta, str(key)) if meta else blocks), params


@router.get("/items.jl", openapi_extra=describe(*ITEMS))
def items_jl(call: Call) -> Response:
    """Items as JSON lines, all of them unless `count` says otherwise."""
    blocks, _ = _items(call)
    return Stream(formats.jl(blocks), formats.JL)


@router.get("/items.json", openapi_extra=describe(*ITEMS))
def items_json(call: Call) -> Response:
    """Items as one JSON array; at most 1,000, and 100 without `count`."""
    blocks, _ = _items(call, JSON_CAP)
    return Stream(formats.json_array(blocks), formats.JSON)


@router.get("/items.csv", openapi_extra=describe(*ITEMS, *CSV))
def items_csv(call: Call) -> Response:
    """Items as CSV, all of them unless `count` says otherwise."""
    blocks, params = _items(call)
    fields = [name for name in params.text("fields", length=LINE_LENGTH).split(",") if name]
    headers = params.text("include_headers").lower()
    if headers not in ("0", "1", "y", "n"):
        raise BadParameter(f"invalid value for include_headers: {headers}")
    return Stream(formats.csv_rows(blocks, fields, headers in ("1", "y")), formats.CSV)


@router.get("/items.xml", openapi_extra=describe(*ITEMS))
def items_xml(call: Call) -> Response:
    """Items as XML with the data types of XML-RPC, all of them unless `count` says otherwise."""
    blocks, _ = _items(call)
    return Stream(formats.xml(blocks), formats.XML)


def _log(call: Call, cap: int | None = None) -> Iterator[dict[str, Any]]:
    """Log entries of a job; the level is looked at before they are counted."""
    with reading() as session:
        _, params, project = enter(session, call)
        job_id, key = job_of(session, params, project)
        total = records.total(session, job_id, Kind.LOGS)
        count, offset = paging(params, cap)
        names = params.choice("level", list(formats.LEVELS.values()))
    if not names:
        return _entries(Wanted(job_id, key, *_range(total, count, offset)))
    lowest = next(level for level, name in formats.LEVELS.items() if name == names[-1])

    def matching() -> Iterator[dict[str, Any]]:
        return (entry for entry in _entries(Wanted(job_id, key, 0, total)) if entry["level"] >= lowest)

    if count < 0:  # counted first, and read again: the last ones may be too many to hold
        return islice(matching(), max(sum(1 for _ in matching()) + count, 0), None)
    return islice(matching(), offset, offset + count)


def _entries(wanted: Wanted) -> Iterator[dict[str, Any]]:
    for block in wanted.blocks(Kind.LOGS):
        for line in block.lines:
            yield orjson.loads(line)


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "logLevel": formats.level_name(entry["level"]),
        "message": entry["message"],
        "time": formats.time_text(entry["time"], "T"),
    }


def _lines(entries: Iterator[dict[str, Any]], text: bool) -> Iterator[bytes]:
    while block := list(islice(entries, 500)):
        if text:
            yield "".join(map(formats.entry_text, block)).encode("utf-8", "replace")
        else:
            yield jsonlines.written(map(_shown, block))


@router.get("/log.jl", openapi_extra=describe(*LOG))
def log_jl(call: Call) -> Response:
    """Log entries as JSON lines: `logLevel`, `message`, `time`."""
    return Stream(_lines(_log(call), text=False), formats.JL)


@router.get("/log.txt", openapi_extra=describe(*LOG))
def log_txt(call: Call) -> Response:
    """Log entries as text: time (UTC), level and message."""
    return Stream(_lines(_log(call), text=True), formats.TEXT)


@router.get("/log.json", openapi_extra=describe(*LOG))
def log_json(call: Call) -> Response:
    """Log entries as one JSON array; at most 1,000, and 100 without `count`."""
    return Stream(iter([orjson.dumps(list(map(_shown, _log(call, JSON_CAP))))]), formats.JSON)
