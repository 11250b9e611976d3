"""schedule.json and run.json: one more job (contract 3.2, 4.1)."""

import shlex
from functools import partial
from typing import Any

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlmodel import col
from starlette.responses import Response

from app.api.body import Body
from app.api.dash.wire import PROJECT, Call, enter, ok
from app.api.params import Param, Params, describe_form
from app.errors import AlreadyScheduled, BadParameter, NotFound, Refused
from app.keys import JobKey, number
from app.models import Job, JobState, Spider
from app.services import jobs
from app.together import together

router = APIRouter(tags=["jobs"])

SCHEDULE = (
    PROJECT,
    Param("spider", "name of the spider", required=True),
    Param("add_tag", "tag of the new job", repeat=True),
    Param("priority", "0 lowest … 4 highest; 2 when not given", type="integer"),
)
RUN = (
    PROJECT,
    Param("spider", "name of the spider; py:NAME.py runs a script. Required unless jobq_id is given"),
    *SCHEDULE[2:],
    Param("jobq_id", "number of the spider, instead of its name", type="integer"),
    Param("units", "1 … 6; memory of the job in units of the platform's setting", type="integer"),
    Param("job_settings", "JSON object: Scrapy settings of this job"),
    Param("meta", "JSON object: further metadata fields; `state` sets the initial state"),
    Param("environment", "JSON object: environment variables of this job"),
    Param("cmd_args", "command line of a script job, shell-quoted"),
)
VARIABLE_LENGTH = 32_000  # characters; the kernel takes 128 KiB with the name
ARGUMENT = "any other name is a spider argument"
INITIAL = (JobState.PENDING, JobState.RUNNING, JobState.FINISHED)
# What the platform keeps of a job itself; `meta` cannot set it (contract 7.3).
RESERVED = set(Job.model_fields) | {"project", "spider", "spider_type", "tags", "api_url", "auth", "_key"}


@router.post("/schedule.json", openapi_extra=describe_form(*SCHEDULE, more=ARGUMENT))
async def schedule(call: Call) -> Response:
    """Schedule a job of a spider; every parameter not named here is a spider argument."""
    made = await together(partial(_schedule, call))
    if isinstance(made, AlreadyScheduled):
        raise made
    return ok(jobid=str(made))


def _schedule(call: Body, session: Session) -> JobKey | AlreadyScheduled:
    principal, params, project = enter(session, call)
    new = jobs.NewJob(
        spider=params.text("spider"),
        args=params.others(SCHEDULE),
        tags=params.many("add_tag"),
        priority=params.integer("priority", 2, 0, 4),
    )
    return _insert(session, project, new, principal.name)


@router.post("/run.json", openapi_extra=describe_form(*RUN, more=ARGUMENT))
async def run(call: Call) -> Response:
    """Schedule a job with settings, environment, metadata and units."""
    made = await together(partial(_run, call))
    if isinstance(made, AlreadyScheduled):
        raise Refused(f"{made.spider} already scheduled")  # this call's own wording
    return ok(jobid=str(made))


def _run(call: Body, session: Session) -> JobKey | AlreadyScheduled:
    principal, params, project = enter(session, call)
    spider = _spider(session, params, project)
    meta = params.json_object("meta")
    state = meta.pop("state", JobState.PENDING)
    if state not in INITIAL:
        raise BadParameter(f"invalid value for meta: state {str(state)[:50]}")
    new = jobs.NewJob(
        spider=spider,
        args=params.others(RUN),
        tags=params.many("add_tag"),
        priority=params.integer("priority", 2, 0, 4),
        units=params.integer("units", 1, 1, 6),
        job_settings=params.json_object("job_settings"),
        environment=_environment(params.json_object("environment")),
        job_cmd=_command(spider, params),
        meta={name: value for name, value in meta.items() if name not in RESERVED},
        state=JobState(state),
    )
    return _insert(session, project, new, principal.name)


def _insert(session: Session, project: int, new: jobs.NewJob, by: str) -> JobKey | AlreadyScheduled:
    """The new job, or the refusal; either is committed, because a refused job uses up its number too."""
    try:
        return jobs.schedule(session, project, new, by)
    except AlreadyScheduled as error:
        return error
    except NotFound as error:
        raise BadParameter(str(error)) from None  # 400 here, not 404 (contract 13.1)


def _spider(session: Session, params: Params, project: int) -> str:
    given = params.maybe("jobq_id")
    if not given:
        return params.text("spider")
    name = session.scalar(
        select(col(Spider.name)).where(
            col(Spider.project_id) == project, col(Spider.number) == number(given, "jobq_id")
        )
    )
    if name is None or params.maybe("spider") not in (None, name):
        raise BadParameter(f"invalid value for jobq_id: {given[:50]}")
    return name


def _environment(given: dict[str, Any]) -> dict[str, Any]:
    """Variables must be something that a process can hold."""
    for name, value in given.items():
        size = len(value) if isinstance(value, str) else 0
        if not name or "=" in name or isinstance(value, dict | list) or size > VARIABLE_LENGTH:
            raise BadParameter(f"invalid value for environment: {name[:100] or 'empty name'}")
    return given


def _command(spider: str, params: Params) -> list[str] | None:
    """The command line of a script job (contract 7.3, job_cmd)."""
    args = params.maybe("cmd_args", length=100_000)
    if not spider.startswith("py:"):
        if args:
            raise BadParameter(
                "invalid value for cmd_args: only scripts (spider=py:NAME.py) take a command line"
            )
        return None
    try:
        return [spider, *shlex.split(args or "")]
    except ValueError as error:
        raise BadParameter(f"invalid value for cmd_args: {error}") from None
