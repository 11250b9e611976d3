"""jobs/*: the metadata of jobs, and their removal (contract 6.7)."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from app import jsonlines
from app.api import formats
from app.api.params import Param, describe
from app.api.storage.paths import rest
from app.api.storage.wire import JL, Call, Caller, empty, enter, enter_job, json_value, stream, wants
from app.auth import JobPrincipal
from app.db import reading, transaction
from app.errors import BadParameter, NoAccess, NotAuthenticated, NotFound
from app.keys import LARGEST, JobKey, number
from app.services import jobmeta, jobs, keyorder, records, removal
from app.services.reader import Block

router = APIRouter(tags=["jobs"])

BATCH = 100  # jobs whose metadata are in memory at once
ONE = "/jobs/{project:segment}/{spider:segment}/{job:segment}"
FIELD = f"{ONE}/{{field:path}}"
PLACE = 4  # of the field in the path

LIST = (
    Param("format", "instead of the Accept header", values=("jl", "json")),
    Param("count", "at most so many", type="integer"),
    Param("start", "first job, P/S/J, or the next one there is"),
    Param("startafter", "as start, but without that job"),
    Param("meta", "_key: add the job's key", repeat=True, values=("_key",)),
)
BODY = {"required": True, "content": {"application/json": {"schema": {}}}}
OBJECT = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}


# One job


@router.get(ONE)
def show(call: Caller, project: str, spider: str, job: str) -> Response:
    """The metadata of a job; `{}` when there is no such job."""
    with reading() as session:
        _, key = enter_job(session, call, project, spider, job)
        job_id = jobs.find(session, key)
        found = jobmeta.show(session, [] if job_id is None else [job_id])
    return _value(call, found[0] if found else {})


def _value(call: Call, value: Any) -> Response:
    """A value on a line of its own (recorded so), or as JSON for who asks for that."""
    if wants(call, ("jl", "json")) == "json":
        return json_value(value)
    return Response(orjson.dumps(value), media_type=JL)


@router.get(FIELD)
def show_field(call: Caller, project: str, spider: str, job: str, field: str) -> Response:
    """One field as JSON, `null` when there is no such field. `auth` is the token while the job runs."""
    with reading() as session:
        _, key = enter_job(session, call, project, spider, job)
        name = rest(call.path, PLACE, "field")
        job_id = jobs.find(session, key)
        if name == "auth":
            return json_value(None if job_id is None else jobmeta.token(session, job_id))
        found = {} if job_id is None else jobmeta.by_id(session, [job_id], [name])
    return json_value(found[job_id].fields.get(name) if job_id in found else None)


@router.post(ONE, openapi_extra={"requestBody": OBJECT})
def merge(call: Caller, project: str, spider: str, job: str) -> Response:
    """Write fields, the others stay. What only the platform knows, as the state, is passed over."""
    return _write(call, (project, spider, job), None)


@router.post(FIELD, openapi_extra={"requestBody": BODY})
def write_field(call: Caller, project: str, spider: str, job: str, field: str) -> Response:
    """Write one field: any JSON value."""
    return _write(call, (project, spider, job), PLACE)


def _write(call: Call, parts: Sequence[str], place: int | None) -> Response:
    with reading() as session:
        principal, key = enter_job(session, call, *parts)
        job_id = jobs.find(session, key)
    if job_id is None:
        raise NotFound(f"unknown job: {key}")
    fields = call.object() if place is None else {rest(call.path, place, "field"): one_value(call)}
    token = principal.token if isinstance(principal, JobPrincipal) else None
    with transaction() as session:
        written = jobmeta.update(session, job_id, fields, token=token)
    if not written:
        # Meanwhile the job has ended, or was removed.
        raise NotFound(f"unknown job: {key}") if token is None else NotAuthenticated("Unauthorized")
    return empty()


def one_value(call: Call) -> Any:
    """The body as one JSON value, which must be there."""
    nothing = object()
    value = call.value(nothing)
    if value is nothing:
        raise BadParameter("Error parsing data, the body has no value")
    return value


@router.delete(FIELD)
def remove_field(call: Caller, project: str, spider: str, job: str, field: str) -> Response:
    """Remove a field, if there is one of that name."""
    with transaction() as session:
        _, key = enter_job(session, call, project, spider, job)
        name = rest(call.path, PLACE, "field")
        job_id = jobs.find(session, key)
        if job_id is not None:
            jobmeta.remove(session, job_id, name)
    return empty()


@router.delete(ONE)
def remove(call: Caller, project: str, spider: str, job: str) -> Response:
    """Remove a job in any state for good, with its records. One that runs is ended."""
    with transaction() as session:
        name, key = _with_a_key(call, session, project, spider, job)
        job_id = jobs.find(session, key)
        if job_id is not None:
            removal.hide(session, job_id, name)
    if job_id is not None:
        more = True
        while more:
            with transaction() as session:
                more = records.purge_some(session, job_id)
        with transaction() as session:
            removal.forget(session, job_id)
    return empty()


def _with_a_key(call: Call, session: Any, *parts: str) -> tuple[str, JobKey]:
    """Let in who has an API key: a job may not remove anything of itself."""
    principal, key = enter_job(session, call, *parts)
    if isinstance(principal, JobPrincipal):
        raise NoAccess(principal.name, key.project)
    return principal.name, key


# Many jobs


@router.get("/jobs/{project:segment}", openapi_extra=describe(*LIST))
def of_project(call: Caller, project: str) -> Response:
    """The metadata of all jobs of a project by key; deleted ones are left out."""
    return _list(call, project, None)


@router.get("/jobs/{project:segment}/{spider:segment}", openapi_extra=describe(*LIST))
def of_spider(call: Caller, project: str, spider: str) -> Response:
    """The metadata of all jobs of a spider by key; deleted ones are left out."""
    return _list(call, project, spider)


def _list(call: Call, project: str, spider: str | None) -> Response:
    with reading() as session:
        _, project_id = enter(session, call, project)
    spider_number = None if spider is None else number(spider, "spider")
    params = call.params
    after = JobKey(project_id, 0, 0)
    if first := params.job_key("start", project_id):
        after = JobKey(project_id, first.spider, first.job - 1)
    if last := params.job_key("startafter", project_id):
        after = max(after, last)
    ids = keyorder.ids(project_id, spider_number, after, params.integer("count", LARGEST, low=0))
    blocks = _blocks(ids, with_key="_key" in params.many("meta"))
    if wants(call, ("jl", "json")) == "json":
        return stream(call, formats.json_array(blocks), formats.JSON)
    return stream(call, formats.jl(blocks), JL)


def _blocks(ids: Iterator[list[int]], *, with_key: bool) -> Iterator[Block]:
    for some in ids:
        for start in range(0, len(some), BATCH):
            chosen = some[start : start + BATCH]
            with reading() as session:
                found = jobmeta.by_id(session, chosen)
            shown = [found[job_id] for job_id in chosen if job_id in found]
            lines = [
                jsonlines.dumps({**job.fields, "_key": str(job.key)} if with_key else job.fields)
                for job in shown
            ]
            if lines:
                yield Block.of(lines)
