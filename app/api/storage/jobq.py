"""jobq/*: the job queue, its writing calls (contract 6.8-6.11)."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app import jsonlines
from app.api.params import Param, describe
from app.api.storage.wire import Call, Caller, empty, enter, json_value, rows, who
from app.auth import Principal
from app.db import reading, transaction
from app.errors import BadParameter, NotYours, TooLarge
from app.keys import JobKey, number
from app.models import JobState
from app.services import jobmeta, jobs, queue
from app.services.queue import Change, Made, Pushed

router = APIRouter(tags=["jobq"])

BATCH = 500  # jobs of one transaction: others are let in between
MOST = 10_000  # jobs of one push, which is one transaction
LARGEST_BODY = 8 << 20  # bytes; all of it is in memory, read, and ten times as large then


def body(what: str, json: str | None = None, *, required: bool = True) -> dict[str, Any]:
    """The body of a call, for its description: JSON of that type, else JSON lines."""
    kind = "application/x-jsonlines" if json is None else "application/json"
    schema = {"type": "string", "format": "binary"} if json is None else {"type": json}
    content = {kind: {"schema": schema}}
    return {"requestBody": {"required": required, "description": what, "content": content}}


def objects(call: Call) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines of the body, which must be JSON objects, and their values.

    Raises:
        BadParameter: a line is something else.
        TooLarge: the body has more than 64 MiB.

    """
    size = 0
    for place, given in enumerate(call.lines(), 1):
        line, value = jsonlines.parse(given, place)
        size += len(line)
        if size > LARGEST_BODY:
            raise TooLarge(f"Error parsing data, the body is larger than {LARGEST_BODY} bytes")
        if not isinstance(value, dict):
            raise BadParameter(f"Error parsing data, line {place} is not a JSON object")
        yield line, value


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if not isinstance(value, str | None):
        raise BadParameter(f"invalid value for {name}: not a text")
    return value


def _state(given: dict[str, Any]) -> JobState | None:
    state = _text(given, "state")
    if state is not None and state not in list(JobState):
        raise BadParameter(f"invalid value for state: {state[:50]}")
    return None if state is None else JobState(state)


def _without(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


# Pushing and starting


@router.post(
    "/jobq/{project:segment}/push",
    openapi_extra=body("a job a line: `spider`, `state`, `priority`, `tags`, `unique`; others are metadata"),
)
def push(call: Caller, project: str) -> Response:
    """Add jobs: all of them or, when a line is wrong, none; with `unique` only if no other such is active."""
    with reading() as session:
        name, project_id = enter(session, call, project)
    given = [value for _, value in objects(call)]
    if len(given) > MOST:
        raise TooLarge(f"Error parsing data, more than {MOST} jobs")
    new = [_pushed(each) for each in given]
    with transaction() as session:
        made = queue.push(session, project_id, new, name)
    return rows(call, [_answer(*each) for each in zip(given, new, made, strict=True)])


def _pushed(given: dict[str, Any]) -> Pushed:
    spider = _text(given, "spider")
    if not spider:
        raise BadParameter("missing 'spider' argument")
    unique = _text(given, "unique")
    return Pushed(
        spider=spider,
        fields=jobmeta.checked(given),
        state=_state(given) or JobState.PENDING,
        unique=unique,
    )


def _answer(given: dict[str, Any], new: Pushed, made: Made | None) -> dict[str, Any]:
    if made is None:
        return {"request": given, "error": f"Active job exists with key {new.unique}"}
    return {"key": str(made.key), "auth": made.token}


@router.post(
    "/jobq/{project:segment}/startjob",
    openapi_extra=body("metadata to write; `botgroup`: only if the project has that group", "object"),
)
def start(call: Caller, project: str) -> Response:
    """Take the next pending job of the project and run it outside; an empty answer when there is none."""
    with reading() as session:
        name, project_id = enter(session, call, project)
    given = call.object()
    botgroup = _text(given, "botgroup")
    fields = _without(given, "botgroup")
    jobmeta.checked(fields)
    with transaction() as session:
        if botgroup is not None and not queue.serves(session, project_id, botgroup):
            return empty()
        started = queue.start(session, project_id, fields, name)
    return empty() if started is None else json_value(started)


# Updating


@router.post(
    "/jobq/{project:segment}/update",
    openapi_extra=body("a line for a job, or for all of a spider: `key`, `state`; others are metadata"),
)
def update(call: Caller, project: str) -> Response:
    """Move jobs on and write metadata; a line for each job that there is, with the state it was in."""
    with reading() as session:
        name, project_id = enter(session, call, project)
    # All is checked before anything is written.
    changes = [_change(value, project_id) for _, value in objects(call)]
    affected: list[queue.Affected] = []
    for of_jobs, group in groupby(changes, key=lambda each: isinstance(each[0], JobKey)):
        if of_jobs:
            for some in _batches(list(group)):
                with transaction() as session:
                    affected += queue.change(session, some, name, strict=len(changes) == 1)
            continue
        for spider, change in group:
            with reading() as session:
                ids = queue.of_spider(session, project_id, spider)
            for chosen in _batches(ids):
                with transaction() as session:
                    affected += queue.change_all(session, chosen, change, name)
    return rows(call, ({"key": str(key), "prevstate": state} for key, state in affected))


def _change(given: dict[str, Any], project: int) -> tuple[Any, Change]:
    """The key of a job, or the number of a spider, and what is to become of it."""
    text = _text(given, "key")
    if not text:
        raise BadParameter("missing 'key' argument")
    fields = _without(given, "key", "state")
    jobmeta.checked(fields)
    return _key(text, project), Change(_state(given), fields)


def _key(text: str, project: int) -> JobKey | int:
    parts = text.split("/")
    if len(parts) == 2:
        key: JobKey | int = number(parts[1], "key")
        mine = number(parts[0], "key") == project
    else:
        key = JobKey.parse(text, "key")
        mine = key.project == project
    if not mine:
        raise BadParameter(f"invalid value for key: {text} is not of project {project}")
    return key


def _batches(many: Sequence[Any]) -> Iterator[Any]:
    return (many[start : start + BATCH] for start in range(0, len(many), BATCH))


# Cancelling


@router.post("/jobq/{project:segment}/{spider:segment}/{job:segment}/cancel")
def cancel(call: Caller, project: str, spider: str, job: str) -> Response:
    """Cancel a job: a pending one never runs, a running one is asked to close. Others are left alone."""
    with reading() as session:
        name, _ = enter(session, call, project)
    key = JobKey.parse("/".join((project, spider, job)))
    with transaction() as session:
        return json_value({"count": jobs.request_stop(session, [key], name)})


@router.post(
    "/jobq/{project:segment}/cancel",
    openapi_extra={
        **describe(Param("count", "at most so many jobs, whichever; needs an admin key", type="integer")),
        **body('`[{"key": "P/S/J"}, …]`', "array", required=False),
    },
)
def cancel_many(call: Caller, project: str) -> Response:
    """Cancel jobs by key, or by number; `count` says how many were pending or running."""
    with reading() as session:
        name, project_id = enter(session, call, project)
        principal = who(session, call)
        admin = isinstance(principal, Principal) and principal.admin
    given = call.value([])
    if call.params.maybe("count") is not None:
        if not admin:
            raise NotYours("jobs are cancelled by number with an admin key alone")
        if given:
            raise BadParameter("either 'count' or keys, not both")
        return json_value({"count": _cancel_some(project_id, call.params.integer("count", 0, low=0), name)})
    keys = list(dict.fromkeys(_keys(given, project_id)))
    count = 0
    for some in _batches(keys):
        with transaction() as session:
            count += jobs.request_stop(session, some, name)
    return json_value({"count": count})


def _keys(given: Any, project: int) -> Iterator[JobKey]:
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise BadParameter('Error parsing data, not an array of {"key": "P/S/J"}')
    for each in given:
        key = _key(_text(each, "key") or "", project)
        if not isinstance(key, JobKey):
            raise BadParameter(f"invalid value for key: {each['key']}")
        yield key


def _cancel_some(project: int, count: int, by: str) -> int:
    left = count
    for state in (JobState.PENDING, JobState.RUNNING):
        done = 1
        while left and done:
            with transaction() as session:
                done = queue.cancel_some(session, project, state, min(left, BATCH), by)
            left -= done
    return count - left
