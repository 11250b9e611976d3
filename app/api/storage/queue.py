"""jobq/*: the job queue, its reading calls (contract 6.12-6.15)."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.api.params import Param, Params, describe
from app.api.storage.wire import Call, Caller, enter, json_value, rows
from app.db import reading
from app.errors import BadParameter
from app.keys import number
from app.models import JobState
from app.services import joblist, jobs
from app.services.joblist import LIVE, Filter

router = APIRouter(tags=["jobq"])

MOST = 1000  # rows of one list
SUMMARY = 5  # rows of each queue of a summary, unless asked otherwise

FILTERS = (
    Param("state", "only jobs in these states; without it finished ones", repeat=True, values=list(JobState)),
    Param("spider", "only jobs of the spider with this name"),
    Param("has_tag", "only jobs with any of these tags", repeat=True),
    Param("lacks_tag", "only jobs with none of these tags", repeat=True),
    Param("key", "only these jobs; unknown ones are passed over", repeat=True),
    Param("startts", "only jobs that entered their state at this time or later, ms", type="integer"),
    Param("endts", "only jobs that entered their state before this time, ms", type="integer"),
    Param("stop", "only jobs that come before this one in the list"),
)
JOBMETA = Param("jobmeta", "metadata field of a row, instead of the usual ones", repeat=True)
FORMAT = Param("format", "instead of the Accept header", values=("jl", "json"))
START = Param("start", "rows to skip", type="integer")


def _filter(params: Params, project: int) -> Filter:
    return Filter(
        project=project,
        keys=params.job_keys("key", project),
        spider=params.maybe("spider"),
        states=[JobState(state) for state in params.choice("state", list(JobState))] or [JobState.FINISHED],
        has_tag=params.many("has_tag"),
        lacks_tag=params.many("lacks_tag"),
        startts=params.moment("startts"),
        endts=params.moment("endts"),
        stop=params.job_key("stop", project),
    )


def _page(params: Params, count: int) -> tuple[int, int]:
    """How many rows, and how many to skip."""
    return min(params.integer("count", count, low=0), MOST), params.integer("start", 0, low=0)


@router.get("/jobq/{project:segment}/count", openapi_extra=describe(*FILTERS))
def count(call: Caller, project: str) -> Response:
    """How many jobs the filters select; finished ones unless another state is asked for."""
    with reading() as session:
        _, project_id = enter(session, call, project)
        return json_value(joblist.count(session, _filter(call.params, project_id)))


@router.get(
    "/jobq/{project:segment}/list",
    openapi_extra=describe(
        *FILTERS, Param("count", "most rows, 1000 at most", type="integer"), START, JOBMETA, FORMAT
    ),
)
def list_jobs(call: Caller, project: str) -> Response:
    """Jobs, the latest to enter its state first; finished ones unless another state is asked for."""
    with reading() as session:
        _, project_id = enter(session, call, project)
        wanted = _filter(call.params, project_id)
        chosen = joblist.newest(session, wanted, *_page(call.params, MOST))
        found = joblist.summaries(session, chosen, call.params.many("jobmeta"))
    return rows(call, found)


@router.get(
    "/jobq/{project:segment}/jobsummary",
    openapi_extra=describe(Param("key", "a job", repeat=True), JOBMETA, FORMAT),
)
def job_summaries(call: Caller, project: str) -> Response:
    """A row for each of the jobs named, in that order; unknown ones are passed over."""
    with reading() as session:
        _, project_id = enter(session, call, project)
        chosen = jobs.ids_of(session, call.params.job_keys("key", project_id))
        found = joblist.summaries(session, chosen, call.params.many("jobmeta"))
    return rows(call, found)


SUMMARIES = describe(
    Param("count", "rows of each queue, 1000 at most; 5 when not given", type="integer"),
    START,
    JOBMETA,
    FORMAT,
)
OF_PROJECT, OF_SPIDER = "/jobq/{project:segment}/summary", "/jobq/{project:segment}/{spider:segment}/summary"


@router.get(OF_PROJECT, openapi_extra=SUMMARIES)
def summaries(call: Caller, project: str) -> Response:
    """For each queue (pending, running, finished) its length and its newest jobs."""
    return _summaries(call, project, None, LIVE)


@router.get(OF_PROJECT + "/{queue:segment}", openapi_extra=SUMMARIES)
def summary(call: Caller, project: str, queue: str) -> Response:
    """The length of one queue, and its newest jobs."""
    return _summaries(call, project, None, [queue])


@router.get(OF_SPIDER, openapi_extra=SUMMARIES)
def spider_summaries(call: Caller, project: str, spider: str) -> Response:
    """As that of a project, with the jobs of one spider."""
    return _summaries(call, project, spider, LIVE)


@router.get(OF_SPIDER + "/{queue:segment}", openapi_extra=SUMMARIES)
def spider_summary(call: Caller, project: str, spider: str, queue: str) -> Response:
    """One queue with the jobs of one spider."""
    return _summaries(call, project, spider, [queue])


def _summaries(call: Call, project: str, spider: str | None, queues: Sequence[str]) -> Response:
    with reading() as session:
        _, project_id = enter(session, call, project)
        spider_number = None if spider is None else number(spider, "spider")
        if not set(queues) <= set(LIVE):
            raise BadParameter(f"invalid value for queue: {queues[0][:50]}")
        limit, offset = _page(call.params, SUMMARY)
        found = []
        for queue in queues:
            wanted = Filter(project_id, states=[JobState(queue)], spider_number=spider_number)
            found.append(_queue(session, wanted, limit, offset, call.params.many("jobmeta")))
    return rows(call, found)


def _queue(session: Session, wanted: Filter, limit: int, offset: int, names: Sequence[str]) -> dict[str, Any]:
    chosen = joblist.newest(session, wanted, limit, offset)
    return {
        "summary": joblist.summaries(session, chosen, names),
        "count": joblist.count(session, wanted),
        "name": wanted.states[0],
    }
