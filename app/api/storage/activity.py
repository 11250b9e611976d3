"""activity/*: what happened in projects (contract 6.22)."""

from collections.abc import Iterator, Sequence
from itertools import islice

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from app.api import filters, formats
from app.api.params import Param, describe
from app.api.storage.jobq import body, objects
from app.api.storage.wire import JL, JSON, Call, Caller, empty, enter, stream, wants, who
from app.auth import Principal
from app.db import AnyRow, reading, transaction
from app.errors import NoAccess
from app.keys import LARGEST, number
from app.services import activity
from app.services.reader import Block

router = APIRouter(tags=["activity"])

PART_BYTES = 1 << 15  # of one write to the network

COUNT = Param("count", "at most so many", type="integer")
FILTER = Param("filter", '["field", "operator", [arguments]]; all that are given must hold', repeat=True)
META = Param("meta", "add this field to each event", repeat=True, values=("_ts", "_project"))
FORMAT = Param("format", "instead of the Accept header", values=("jl", "json"))


@router.post("/activity/{project:segment}", openapi_extra=body("JSON objects, the oldest first"))
def add(call: Caller, project: str) -> Response:
    """Add events of your own."""
    with reading() as session:
        _, project_id = enter(session, call, project)
    events = [line for line, _ in objects(call)]
    with transaction() as session:
        activity.add(session, project_id, events)
    return empty()


@router.get(
    "/activity/projects",
    openapi_extra=describe(
        Param("p", "id of a project; without it all projects of the key", type="integer", repeat=True),
        Param("pcount", "at most so many events of each project", type="integer"),
        COUNT,
        FILTER,
        META,
        FORMAT,
    ),
)
def of_projects(call: Caller) -> Response:
    """What happened in several projects, the newest first."""
    with reading() as session:
        principal = who(session, call)
        if not isinstance(principal, Principal):
            raise NoAccess(principal.name, principal.key.project)
        projects = [number(text, "p") for text in dict.fromkeys(call.params.many("p"))]
        for project_id in projects:
            principal.enter(session, project_id)
        projects = projects or principal.projects(session)
    return _answer(call, projects, call.params.integer("pcount", LARGEST, low=0))


@router.get("/activity/{project:segment}", openapi_extra=describe(COUNT, FILTER, META, FORMAT))
def of_project(call: Caller, project: str) -> Response:
    """What happened in a project, the newest first: what its jobs did, and what was added."""
    with reading() as session:
        _, project_id = enter(session, call, project)
    return _answer(call, [project_id], LARGEST)


def _answer(call: Call, projects: Sequence[int], most: int) -> Response:
    params = call.params
    count, meta, test = params.integer("count", LARGEST, low=0), params.many("meta"), filters.read(params)
    keep = None if test is None else lambda row: test(orjson.loads(row.event))
    blocks = _blocks(islice(activity.newest(projects, most, keep), count), meta)
    if wants(call, ("jl", "json")) == "json":
        return stream(call, formats.json_array(blocks), JSON)
    return stream(call, formats.jl(blocks), JL)


def _blocks(events: Iterator[AnyRow], meta: Sequence[str]) -> Iterator[Block]:
    lines: list[bytes] = []
    size = 0
    for row in events:
        line = row.event.encode()
        for name, value in (("_ts", row.time), ("_project", row.project_id)):
            if name in meta:
                line = formats.with_field(line, name, value)
        lines.append(line)
        size += len(line)
        if size > PART_BYTES:
            yield Block.of(lines)
            lines, size = [], 0
    if lines:
        yield Block.of(lines)
