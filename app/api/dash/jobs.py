"""jobs/*: list, count, update, stop, delete (contract 3.3-3.7, 4.2)."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from app import jsonlines
from app.api.dash.wire import COUNT, JSON_CAP, OFFSET, PROJECT, Call, enter, ok, paging, utc
from app.api.params import Param, Params, describe, describe_form
from app.db import reading, transaction
from app.errors import BadParameter
from app.models import JobState
from app.services import joblist, jobs
from app.services.joblist import Filter, Listed

router = APIRouter(prefix="/jobs", tags=["jobs"])

FILTERS = (
    PROJECT,
    Param("job", "only these jobs; unknown ones are passed over", repeat=True),
    Param("spider", "only jobs of the spider with this name"),
    Param(
        "state",
        "only jobs in these states; without it all but deleted ones",
        repeat=True,
        values=list(JobState),
    ),
    Param("has_tag", "only jobs with any of these tags", repeat=True),
    Param("lacks_tag", "only jobs with none of these tags", repeat=True),
)
TAGS = (
    Param("add_tag", "tag to add to every selected job", repeat=True),
    Param("remove_tag", "tag to remove from every selected job", repeat=True),
)
JOBS = (PROJECT, Param("job", "key of a job, P/S/J", required=True, repeat=True))


def read_filter(params: Params, project: int) -> Filter:
    """The filters of contract 3.1."""
    return Filter(
        project=project,
        # The official Go client asks for one job as job_id.
        keys=params.job_keys("job", project) or params.job_keys("job_id", project),
        spider=params.maybe("spider"),
        states=[JobState(state) for state in params.choice("state", list(JobState))],
        has_tag=params.many("has_tag"),
        lacks_tag=params.many("lacks_tag"),
    )


def job_object(row: Listed, tags: list[str]) -> dict[str, Any]:
    """A job as contract 3.3 shows it; what is not known is left out."""
    job = {
        "id": f"{row.project_id}/{row.spider_number}/{row.number}",
        "state": row.state,
        "spider": row.spider,
        "spider_type": row.spider_type,
        "spider_args": row.spider_args or {},
        "priority": row.priority,
        "tags": tags,
        "elapsed": max(row.elapsed, 0),
        "items_scraped": row.items,
        "errors_count": row.errors,
        "responses_received": row.pages,
        "logs": row.logs,
    }
    if row.version is not None:
        job["version"] = row.version
    if row.running_time is not None:
        job["started_time"] = utc(row.running_time)
        job["updated_time"] = utc(row.updated_time)
    if row.close_reason is not None:
        job["close_reason"] = row.close_reason
    return job


@router.get("/list.json", openapi_extra=describe(*FILTERS, COUNT, OFFSET))
def list_json(call: Call) -> Response:
    """Jobs of a project, the newest first; at most 1,000, and 100 without `count`."""
    with reading() as session:
        _, params, project = enter(session, call)
        wanted = read_filter(params, project)
        count, offset = paging(params, cap=JSON_CAP)
        if count < 0:
            count, offset = -count, joblist.last_offset(session, wanted, -count)
        rows = joblist.page(session, wanted, count, offset)
        tags = joblist.tags_of(session, [row.id for row in rows])
    found = [job_object(row, tags.get(row.id, [])) for row in rows]
    return ok(count=len(found), total=len(found), jobs=found)


@router.get("/list.jl", openapi_extra=describe(*FILTERS, COUNT, OFFSET))
def list_jl(call: Call) -> Response:
    """All jobs of a project as JSON lines; the first line is `{"status": "ok", "count": …, "total": …}`."""
    with reading() as session:
        _, params, project = enter(session, call)
        wanted = read_filter(params, project)
        count, offset = paging(params)
        if count < 0:
            count, offset = -count, joblist.last_offset(session, wanted, -count)
        chosen = joblist.ids(session, wanted, count, offset)
    return StreamingResponse(_lines(chosen), media_type="application/x-jsonlines")


def _lines(chosen: Sequence[int]) -> Iterator[bytes]:
    yield jsonlines.written([{"status": "ok", "count": len(chosen), "total": len(chosen)}])
    jobs_with_tags = joblist.stream(chosen)
    while block := list(islice(jobs_with_tags, 500)):  # one write for many lines
        yield jsonlines.written(job_object(*each) for each in block)


@router.get("/count.json", openapi_extra=describe(*FILTERS))
def count(call: Call) -> Response:
    """How many jobs the filters select."""
    with reading() as session:
        _, params, project = enter(session, call)
        return ok(total=joblist.count(session, read_filter(params, project)))


@router.post("/update.json", openapi_extra=describe_form(*FILTERS, COUNT, OFFSET, *TAGS))
def update(call: Call) -> Response:
    """Add and remove tags of all jobs that the filters select."""
    with reading() as session:
        principal, params, project = enter(session, call)
        wanted = read_filter(params, project)
        if not wanted.narrows:
            raise BadParameter("No query filters provided")
        add, remove = params.many("add_tag"), params.many("remove_tag")
        if not add and not remove:
            raise BadParameter("No update modifiers provided")
        count, offset = paging(params)
        if count < 0:
            count, offset = -count, joblist.last_offset(session, wanted, -count)
        # Written down first: the filter may ask for the very tags that change.
        chosen = joblist.ids(session, wanted, count, offset)
    portions = joblist.portions(chosen)
    for portion in portions:  # up to the first change, with which it is told
        with transaction() as session:
            if joblist.update_tags(session, portion, add, remove):
                joblist.tell_of_tags(session, project, principal.name, add, remove, len(chosen))
                break
    joblist.update_tags_of(portions, add, remove)
    return ok(count=len(chosen))


@router.post("/stop.json", openapi_extra=describe_form(*JOBS))
def stop(call: Call) -> Response:
    """Stop jobs: a pending one never runs, a running one is asked to close. Others are left alone."""
    with transaction() as session:
        principal, params, project = enter(session, call)
        jobs.request_stop(session, params.job_keys("job", project, required=True), principal.name)
    return ok()


@router.post("/delete.json", openapi_extra=describe_form(*JOBS))
def delete(call: Call) -> Response:
    """Delete jobs that are finished or pending; `count` says how many were."""
    with transaction() as session:
        principal, params, project = enter(session, call)
        keys = params.job_keys("job", project, required=True)
        return ok(count=jobs.delete(session, keys, principal.name))
