"""ids/*, projects/*, spiders/*, botgroups/*: projects and their spiders (contract 6.2-6.6)."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app.api.params import Param, describe
from app.api.storage.jobs import BODY, OBJECT, one_value
from app.api.storage.paths import rest
from app.api.storage.wire import Call, Caller, empty, enter, json_value, project_admin, rows, who
from app.auth import Principal
from app.db import reading, transaction
from app.errors import BadParameter, NoAccess
from app.keys import LARGEST, number
from app.services import joblist, projects
from app.services.joblist import LIVE

router = APIRouter(tags=["projects"])

SETTINGS = "/projects/{project:segment}/settings"
SETTING = SETTINGS + "/{name:path}"
PLACE = 3  # of a setting, and of a spider's name, in the path


@router.get(
    "/ids/{project:segment}/spider/{name:path}",
    openapi_extra=describe(Param("create", "1: make a spider of the project by that name, if there is none")),
)
def spider_id(call: Caller, project: str, name: str) -> Response:
    """The number of a spider; `null` when there is none of that name."""
    if "create" in call.query.params:
        call.query.login = None  # a GET that writes, which any page can make a browser send, asks for a key
    with reading() as session:
        _, project_id = enter(session, call, project)
        named = rest(call.path, PLACE, "spider")
        create = call.params.flag("create")
        found = projects.spider_number(session, project_id, named)
    if create:
        with transaction() as session:
            found = projects.declare(session, project_id, named)
    return json_value(found)


# Projects


@router.get(
    "/projects/jobsummaries",
    openapi_extra=describe(
        Param("state", "only projects with jobs in these states", repeat=True, values=LIVE)
    ),
)
def queue_lengths(call: Caller) -> Response:
    """How many jobs are pending, running and finished in each project of the key: one array."""
    with reading() as session:
        principal = who(session, call)
        if not isinstance(principal, Principal):
            raise NoAccess(principal.name, principal.key.project)
        states = call.params.choice("state", LIVE) or LIVE
        narrow = states is not LIVE
        found = joblist.queues(session, principal.projects(session))
    return json_value(
        [
            {"project": project, **lengths, "has_capacity": True}
            for project, lengths in found.items()
            if not narrow or any(lengths[state] for state in states)
        ]
    )


@router.get("/projects/{project:segment}/jobsummary")
def queue_length(call: Caller, project: str) -> Response:
    """How many jobs of the project are pending, running and finished."""
    with reading() as session:
        _, project_id = enter(session, call, project)
        lengths = joblist.queues(session, [project_id])[project_id]
        units = joblist.running_units(session, project_id)
    return json_value(
        {
            "project": project_id,
            "running_units_count": units,
            **lengths,
            "pending_units_max": None,
            "has_capacity": True,
        }
    )


@router.get(SETTINGS)
def settings(call: Caller, project: str) -> Response:
    """The project's settings: one object, empty when nothing was set."""
    with reading() as session:
        _, project_id = enter(session, call, project)
        return json_value(projects.settings(session, project_id))


@router.post(SETTINGS, openapi_extra={"requestBody": OBJECT})
def merge_settings(call: Caller, project: str) -> Response:
    """Write settings, the others stay."""
    return _write(call, project, None)


@router.get(SETTING)
def setting(call: Caller, project: str, name: str) -> Response:
    """One setting; `null` when it was not set."""
    with reading() as session:
        _, project_id = enter(session, call, project)
        return json_value(projects.setting(session, project_id, rest(call.path, PLACE, "setting")))


@router.post(SETTING, openapi_extra={"requestBody": BODY})
def write_setting(call: Caller, project: str, name: str) -> Response:
    """Write one setting: any JSON value."""
    return _write(call, project, PLACE)


def _write(call: Call, project: str, place: int | None) -> Response:
    with reading() as session:
        name, project_id = enter(session, call, project)
    values = call.object() if place is None else {rest(call.path, place, "setting"): one_value(call)}
    with transaction() as session:
        projects.set_settings(session, project_id, values, name)
    return empty()


@router.delete(SETTING)
def remove_setting(call: Caller, project: str, name: str) -> Response:
    """Remove a setting, if there is one of that name."""
    with transaction() as session:
        by, project_id = enter(session, call, project)
        projects.remove_setting(session, project_id, rest(call.path, PLACE, "setting"), by)
    return empty()


# Spiders

LAST = describe(
    Param("count", "at most so many spiders", type="integer"),
    Param("start", "first spider, P/S, or the next one there is"),
    Param("startafter", "as start, but without that spider"),
    Param("format", "instead of the Accept header", values=("jl", "json")),
)


@router.get("/spiders/{project:segment}/lastjobsummary", openapi_extra=LAST)
def last_jobs(call: Caller, project: str) -> Response:
    """The most recently finished job of each spider that has one."""
    return _last_jobs(call, project, None)


@router.get("/spiders/{project:segment}/{spider:segment}/lastjobsummary", openapi_extra=LAST)
def last_job(call: Caller, project: str, spider: str) -> Response:
    """The most recently finished job of a spider, if there is one."""
    return _last_jobs(call, project, spider)


def _last_jobs(call: Call, project: str, spider: str | None) -> Response:
    with reading() as session:
        _, project_id = enter(session, call, project)
        spider_number = None if spider is None else number(spider, "spider")
        first = max(_spider(call, "start", project_id), _spider(call, "startafter", project_id) + 1)
        limit = call.params.integer("count", LARGEST, low=0)
        chosen = joblist.last_finished(session, project_id, first, limit, spider_number)
        found: list[Any] = []
        for start in range(0, len(chosen), joblist.BATCH):
            found += joblist.summaries(session, chosen[start : start + joblist.BATCH])
    return rows(call, found)


def _spider(call: Call, name: str, project: int) -> int:
    """The number in a spider key ``P/S``; 0 when there is none."""
    text = call.params.maybe(name)
    if text is None:
        return 0
    first, _, second = text.partition("/")
    if number(first, name) != project:
        raise BadParameter(f"invalid value for {name}: {text} is not a spider of project {project}")
    return number(second, name)


# Bot groups


@router.post("/botgroups/{name:path}/max_running", openapi_extra={"requestBody": BODY})
def limit_botgroup(call: Caller, name: str) -> Response:
    """Accepted, without effect: a number of jobs, or `null`. Needs an admin key."""
    with reading() as session:
        project_admin(session, call)
    limit = call.value()
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise BadParameter("invalid value for max_running: not a number of jobs, or null")
    return json_value(None)


@router.delete("/botgroups/{name:path}")
def remove_botgroup(call: Caller, name: str) -> Response:
    """Accepted, without effect. Needs an admin key."""
    with reading() as session:
        project_admin(session, call)
    return json_value(None)
