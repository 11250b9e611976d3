"""v2/projects/P/periodicjobs: schedules, with Scrapy Cloud's fields and with ours."""

from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Path
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.api.dash.v2 import MOST_ROWS, PAGE_SIZE, describe_json, moment, page_of
from app.api.dash.wire import Call, ProjectId, WholeCall, enter, json_response
from app.api.params import Param, describe
from app.db import AnyRow, now_ms, reading, transaction
from app.keys import number
from app.models.periodic import Missed, Overlap
from app.services import cron, firing, periodic, plans
from app.settings import settings

router = APIRouter(prefix="/projects/{project}/periodicjobs", tags=["periodic jobs"])

PeriodicId = Annotated[str, Path(description="id of the periodic job")]
SHOWN_TIMES = 5  # of the next ones
MOST_TIMES = 100
LIST = (
    Param("search", "only those that have this in description, name, cron or spiders, whatever the case"),
    Param("page", "number of the page, from 1", type="integer"),
    Param("page_size", f"rows of a page; {PAGE_SIZE} when not given, at most {MOST_ROWS}", type="integer"),
)
RUNS = (
    Param("before", "only fire times before this one, ms", type="integer"),
    Param("page_size", f"rows of a page; {PAGE_SIZE} when not given, at most {MOST_ROWS}", type="integer"),
)
COUNT = Param("count", f"how many; {SHOWN_TIMES} when not given, at most {MOST_TIMES}", type="integer")
FIELDS = (
    Param("cron", "minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly"),
    Param("minutes_shift", "the minute, instead of cron; 0 when not given"),
    Param("hour", "the hour, instead of cron; as the three below * when not given"),
    Param("day", "the day of the month"),
    Param("month", "the month"),
    Param("dayofweek", "the day of the week, Sunday is 0"),
    Param("timezone", "whose clock it is, as Europe/Berlin; UTC when not given"),
    Param("spiders", "list of objects with name, args, priority, addtags; or of names", repeat=True),
    Param("description", "what it is for"),
    Param("priority", "of spiders that have none: 0 lowest … 4 highest; 2 when not given", type="integer"),
    Param("addtags", "tag of all its jobs", repeat=True),
    Param("job_settings", "JSON object: Scrapy settings of all its jobs", type="object"),
    Param("overlap", "skip or queue a run while jobs of those before have not ended", values=list(Overlap)),
    Param("missed", "times at which no scheduler was alive: skip them, or run the last one late",
          values=list(Missed)),
    Param("jitter", "jobs come up to so many seconds later, by chance", type="integer"),
    Param("enabled", "false: it is paused", type="boolean"),
    Param("disabled", "the contrary of enabled", type="boolean"),
    Param("type", "spider"),
)  # fmt: skip


def periodic_object(row: AnyRow, gone: list[str], now: int) -> dict[str, Any]:
    """A schedule; what it says stands there as Scrapy Cloud has it, and as we have."""
    plan = plans.of_row(row)
    times = islice(periodic.next_times(row, now), SHOWN_TIMES) if row.enabled else ()
    return {
        "id": row.id,
        "type": "spider",
        "description": row.description,
        "cron": row.cron,
        **plan.parts(),
        "timezone": row.timezone,
        "jitter": row.jitter_seconds,
        "overlap": row.overlap,
        "missed": row.missed,
        "priority": row.priority,
        "addtags": plan.tags,
        "job_settings": row.job_settings or {},
        "spiders": [
            {
                "name": each["name"],
                "args": each.get("args", {}),
                "priority": each.get("priority"),
                "addtags": each.get("tags", []),
            }
            for each in row.spiders
        ],
        "enabled": row.enabled,
        "disabled": not row.enabled,
        "paused_by": row.paused_by,
        "declared": row.declared,
        "words": cron.explain(row.cron),
        "next": [moment(time) for time in times],
        "problem": periodic.problem(row, gone),
        "created_by": row.created_by,
        "created_at": moment(row.created_time),
        "modified_at": moment(row.updated_time),
    }


def run_object(row: AnyRow) -> dict[str, Any]:
    """What became of a fire time."""
    return {
        "fire_time": row.fire_time,
        "fired_at": moment(row.fire_time),
        "state": row.state,
        "by": row.by,
        "jobs": row.jobs or [],
        "reason": row.reason,
    }


def _objects(session: Session, project_id: int, rows: list[AnyRow]) -> list[dict[str, Any]]:
    gone = periodic.missing(session, project_id, rows)
    now = session.scalar(select(now_ms())) or 0
    return [periodic_object(row, gone.get(row.id, []), now) for row in rows]


def _answer(session: Session, project_id: int, periodic_id: int, status: int = 200) -> Response:
    row = periodic.get(session, project_id, periodic_id)
    return json_response(_objects(session, project_id, [row])[0], status)


@router.get("", openapi_extra=describe(*LIST))
def list_periodic_jobs(call: Call, project: ProjectId) -> Response:
    """A page of the project's periodic jobs, each with its next times."""
    with reading() as session:
        _, params, project_id = enter(session, call, project)
        search = params.maybe("search") or ""
        page = page_of(params, f"{project_id}/periodicjobs", periodic.count(session, project_id, search))
        found = periodic.listing(session, project_id, search, offset=page.offset, limit=page.size)
        return page.answer(_objects(session, project_id, list(found)))


@router.post("", openapi_extra=describe_json(*FIELDS))
def create_periodic_job(call: WholeCall, project: ProjectId) -> Response:
    """Make a periodic job; needed are a time, and `spiders`."""
    with transaction() as session:
        principal, _, project_id = enter(session, call, project)
        plan = plans.parse(call.whole or {})
        made = periodic.create(session, project_id, plan, principal.name)
        return _answer(session, project_id, made, 201)


@router.get("/{periodic_id}", openapi_extra=describe())
def get_periodic_job(call: Call, project: ProjectId, periodic_id: PeriodicId) -> Response:
    """A periodic job, with its next times and what is wrong with it."""
    with reading() as session:
        _, _, project_id = enter(session, call, project)
        return _answer(session, project_id, number(periodic_id, "periodic job"))


@router.put("/{periodic_id}", openapi_extra=describe_json(*FIELDS))
def replace_periodic_job(call: WholeCall, project: ProjectId, periodic_id: PeriodicId) -> Response:
    """Change a periodic job; what is not given becomes what it is in a new one."""
    return _change(call, project, periodic_id, merge=False)


@router.patch("/{periodic_id}", openapi_extra=describe_json(*FIELDS))
def update_periodic_job(call: WholeCall, project: ProjectId, periodic_id: PeriodicId) -> Response:
    """Change a periodic job; what is not given stays as it is."""
    return _change(call, project, periodic_id, merge=True)


def _change(call: WholeCall, project: str, periodic_id: str, *, merge: bool) -> Response:
    with transaction() as session:
        principal, _, project_id = enter(session, call, project)
        row = periodic.hold(session, project_id, number(periodic_id, "periodic job"))
        plan = plans.parse(call.whole or {}, plans.of_row(row), merge=merge)
        periodic.change(session, row, plan, principal.name)
        return _answer(session, project_id, row.id)


@router.delete("/{periodic_id}", openapi_extra=describe())
def delete_periodic_job(call: Call, project: ProjectId, periodic_id: PeriodicId) -> Response:
    """Delete a periodic job with its history; its jobs stay."""
    with transaction() as session:
        principal, _, project_id = enter(session, call, project)
        periodic.remove(session, project_id, number(periodic_id, "periodic job"), principal.name)
    return Response(status_code=204)


@router.post("/{periodic_id}/run", openapi_extra=describe())
def run_periodic_job(call: Call, project: ProjectId, periodic_id: PeriodicId) -> Response:
    """Run its jobs now, be it paused or not; answers the run."""
    with transaction() as session:
        principal, _, project_id = enter(session, call, project)
        number_of = number(periodic_id, "periodic job")
        run = firing.run_now(session, project_id, number_of, principal.name)
    return json_response(run_object(run), 201)


@router.get("/{periodic_id}/runs", openapi_extra=describe(*RUNS))
def list_runs(call: Call, project: ProjectId, periodic_id: PeriodicId) -> Response:
    """What became of its fire times, the last one first; `next` continues where a page ends."""
    with reading() as session:
        _, params, project_id = enter(session, call, project)
        row = periodic.get(session, project_id, number(periodic_id, "periodic job"))
        size = min(params.integer("page_size", PAGE_SIZE, low=1), MOST_ROWS)
        found = periodic.runs(session, row.id, params.moment("before"), size + 1)
    shown = found[:size]
    more = f"{settings().url}/api/v2/projects/{project_id}/periodicjobs/{row.id}/runs"
    link = f"{more}?page_size={size}&before={shown[-1].fire_time}" if len(found) > size else None
    return json_response({"next": link, "results": [run_object(each) for each in shown]})


@router.get("/{periodic_id}/next", openapi_extra=describe(COUNT))
def list_next_times(call: Call, project: ProjectId, periodic_id: PeriodicId) -> Response:
    """When it fires next, or would if it were not paused: in UTC and by the clock of its time zone."""
    with reading() as session:
        _, params, project_id = enter(session, call, project)
        row = periodic.get(session, project_id, number(periodic_id, "periodic job"))
        now = session.scalar(select(now_ms())) or 0
        count = params.integer("count", SHOWN_TIMES, 1, MOST_TIMES)
    times = islice(periodic.next_times(row, now), count)
    return json_response(
        {
            "words": cron.explain(row.cron),
            "timezone": row.timezone,
            "enabled": row.enabled,
            "next": [{"utc": moment(time), "local": cron.local(time, row.timezone)} for time in times],
        }
    )
