"""events.sse and log.sse: being told what happens while it happens (docs/events.md)."""

import re
from collections.abc import Sequence

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api import formats, sse
from app.api.dash.records import job_of
from app.api.dash.wire import PROJECT, Call, enter
from app.api.params import Param, Params, describe
from app.api.sse import Then
from app.db import AnyRow, reading
from app.keys import JobKey
from app.models import JobState, Kind
from app.services import events, reader

router = APIRouter(tags=["events"])

DAY_SECONDS = 86_400
LAST = Param("last", "instead of the header Last-Event-ID: the last id that you have")
TIMEOUT = Param("timeout", "end after so many seconds; 0: after what is there now", type="integer")
OURS = re.compile(r"[a-z]{1,50}:[a-z_]{1,50}", re.ASCII)  # names of events as the platform writes them


def _last(request: Request, params: Params) -> int | None:
    """The last id that the client has, which it repeats when it connects again."""
    return params.with_value("last", request.headers.get("last-event-id")).moment("last")


def _seconds(params: Params) -> int | None:
    seconds = params.integer("timeout", -1, low=0, high=DAY_SECONDS)
    return None if seconds < 0 else seconds


@router.get(
    "/events.sse",
    openapi_extra=describe(PROJECT, Param("job", "only what is about this job, P/S/J"), LAST, TIMEOUT),
)
def events_sse(call: Call, request: Request) -> Response:
    """Server-sent events: what happens in a project, and the counters of its running jobs."""
    with reading() as session:
        _, params, project = enter(session, call)
        last, seconds = _last(request, params), _seconds(params)
        job_id, key = job_of(session, params, project) if params.maybe("job") else (None, None)
    feed, counters = events.Feed(project, last), events.Counters(project, job_id)
    return sse.stream(lambda: _look(feed, counters, key), lambda: _check(call), seconds)


def _look(feed: events.Feed, counters: events.Counters, job: JobKey | None) -> tuple[bytes, Then]:
    began = feed.last
    with reading() as session:
        found = feed.read(session)
        numbers = [] if feed.more else counters.read(session)
    parts = [sse.frame("counters", orjson.dumps(each)) for each in numbers]
    parts += _events(found, job)
    if began is None and feed.last is not None:  # where to go on, should the line be lost before any event
        parts.insert(0, b"id: %d\n\n" % feed.last)
    return b"".join(parts), Then.GO_ON if feed.more else Then.WAIT


def _events(rows: Sequence[AnyRow], job: JobKey | None) -> list[bytes]:
    parts = []
    for row in rows:
        event = orjson.loads(row.event)
        if job is None or event.get("job") == str(job):
            name = event.get("event")
            name = name if isinstance(name, str) and OURS.fullmatch(name) else "activity"
            parts.append(sse.frame(name, formats.with_field(row.event.encode(), "time", row.time), row.id))
    return parts


def _check(call: Call) -> None:
    with reading() as session:
        enter(session, call)


@router.get(
    "/log.sse",
    openapi_extra=describe(
        PROJECT,
        Param("job", "key of the job, P/S/J", required=True),
        Param("start", "index of the first entry to send; negative: so many from the end", type="integer"),
        LAST,
        TIMEOUT,
    ),
)
def log_sse(call: Call, request: Request) -> Response:
    """Server-sent events: the log of a job as it is written, until the job has ended."""
    with reading() as session:
        _, params, project = enter(session, call)
        last, seconds = _last(request, params), _seconds(params)
        job_id, _ = job_of(session, params, project)
        start = params.integer("start", 0)
        if last is not None:
            start = last + 1
        elif start < 0:
            start = max(events.ending(session, job_id).logs + start, 0)
    return sse.stream(_Tail(job_id, start).look, lambda: _check(call), seconds)


class _Tail:
    """The log of a job from ``start`` on, a chunk at a time."""

    def __init__(self, job_id: int, start: int) -> None:
        self._job_id = job_id
        self._next = start

    def look(self) -> tuple[bytes, Then]:
        with reading() as session:
            # Of one row: a job that is seen finished has no entries beyond those that are seen counted.
            job = events.ending(session, self._job_id)
        block = next(reader.read(self._job_id, Kind.LOGS, self._next, job.logs), None)
        if block is not None:
            self._next = block.numbers[-1] + 1
            found = zip(block.numbers, block.lines, strict=True)
            return b"".join(sse.frame("log", line, number) for number, line in found), Then.GO_ON
        if job.state not in (JobState.FINISHED, JobState.DELETED):
            return b"", Then.WAIT
        end = {"state": job.state, "close_reason": job.close_reason, "logs": job.logs}
        return sse.frame("end", orjson.dumps(end)), Then.END
