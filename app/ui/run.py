"""The form that runs spiders."""

import shlex
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.api.params import Params, check_args
from app.db import AnyRow, reading, transaction
from app.errors import BadParameter, CrawldockError
from app.services import jobs, projects, rerun
from app.services.jobs import NewJob
from app.settings import settings
from app.ui.wire import PROBLEMS, Visit, Visitor, enter_project, render, see, status_of

router = APIRouter(prefix="/p/{project}/run")

MOST_SPIDERS = 100  # of one press
TEXT_LENGTH = 100_000  # characters of arguments or settings


@router.get("")
def form(call: Visit, project: str) -> Response:
    """The form; ``spider`` chooses one, ``like`` fills it with what another job had."""
    return _page(call, project)


@router.post("/preview")
def preview(call: Visit, project: str) -> Response:
    """The form again, with the calls that would do the same."""
    return _page(call, project)


@router.post("")
def run(call: Visit, project: str) -> Response:
    """Schedule a job of each spider that was chosen: all of them, or none."""
    try:
        with transaction() as session:
            visitor, project_id = enter_project(session, call, project)
            new = _new_jobs(visitor.params)
            if not new:
                raise BadParameter("Choose a spider.")
            made = [jobs.schedule(session, project_id, each, visitor.name) for each in new]
    except PROBLEMS as problem:
        return _page(call, project, problem)
    if len(made) == 1:
        return see(f"/p/{made[0]}", f"Job {made[0]} was scheduled.")
    return see(f"/p/{project_id}/jobs", f"{len(made)} jobs were scheduled.")


def _page(call: Visit, project: str, problem: CrawldockError | None = None) -> Response:
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        spiders = projects.spiders(session, project_id)
        filled = _filled(session, visitor, project_id, spiders)
    calls: list[tuple[str, str]] = []
    try:
        calls = [other_means(project_id, new) for new in _new_jobs(Params(filled))][:1]
    except BadParameter as wrong:
        problem = problem or wrong
    status = status_of(problem) if problem else 200
    chosen = set(filled.params.get("spider", []))
    return render(
        "run",
        visitor,
        status,
        spiders=spiders,
        chosen=chosen,
        typed=filled.typed,
        calls=calls,
        problem=problem,
    )


def _filled(session: Session, visitor: Visitor, project: int, spiders: Sequence[AnyRow]) -> Visit:
    """The form as it is to be shown: as typed, or like another job."""
    like = visitor.params.job_key("like", project)
    if like is None:
        if len(spiders) == 1 and visitor.call.method == "GET":
            visitor.call.params.setdefault("spider", [spiders[0].name])
        return visitor.call
    job = rerun.same(session, like)
    visitor.call.params.update(
        spider=[job.spider],
        args=["\n".join(f"{name}={value}" for name, value in job.args.items())],
        settings=["\n".join(f"{name}={_written(value)}" for name, value in job.job_settings.items())],
        tags=[", ".join(job.tags)],
        priority=[str(job.priority)],
        units=[str(job.units)],
    )
    return visitor.call


def _written(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _new_jobs(params: Params) -> list[NewJob]:
    """What the form asks for.

    Raises:
        BadParameter: a field cannot be read.

    """
    spiders = list(dict.fromkeys(params.many("spider")))
    if len(spiders) > MOST_SPIDERS:
        raise BadParameter(f"more than {MOST_SPIDERS} spiders at once")
    args = pairs(params, "args")
    check_args(args)
    tags = [tag.strip() for tag in (params.maybe("tags", length=4000) or "").split(",")]
    if any(len(tag) > 255 for tag in tags):
        raise BadParameter("invalid value for tags: longer than 255 characters")
    priority, units = params.integer("priority", 2, 0, 4), params.integer("units", 1, 1, 6)
    given = {name: setting(value) for name, value in pairs(params, "settings").items()}
    return [
        NewJob(
            spider=spider, args=args, tags=[tag for tag in tags if tag], priority=priority, units=units,
            job_settings=given,
        )
        for spider in spiders
    ]  # fmt: skip


def pairs(params: Params, name: str) -> dict[str, str]:
    """The lines ``name=value`` of a text field.

    Raises:
        BadParameter: a line is none.

    """
    found = {}
    for line in (params.maybe(name, length=TEXT_LENGTH) or "").splitlines():
        if line.strip():
            key, equals, value = line.partition("=")
            if not equals or not key.strip():
                raise BadParameter(f"{name}: {line[:50]!r} is not name=value")
            found[key.strip()] = value.strip()
    return found


def setting(text: str) -> Any:
    """A setting as Scrapy takes it: JSON where it is JSON, else the text itself."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"True": True, "False": False, "None": None}.get(text, text)


# The same with other means


def other_means(project: int, new: NewJob) -> tuple[str, str]:
    """The calls with curl and with python-scrapinghub that schedule the same job."""
    return _curl(project, new), _python(project, new)


def _curl(project: int, new: NewJob) -> str:
    call = "run" if new.job_settings or new.units != 1 else "schedule"
    fields = [("project", str(project)), ("spider", new.spider), *new.args.items()]
    fields += [("add_tag", tag) for tag in new.tags]
    fields += [("priority", str(new.priority))] if new.priority != 2 else []
    fields += [("units", str(new.units))] if new.units != 1 else []
    fields += [("job_settings", orjson.dumps(new.job_settings).decode())] if new.job_settings else []
    data = " \\\n  ".join(f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in fields)
    return f'curl -u "$KEY": {settings().url}/api/{call}.json \\\n  {data}'


def _python(project: int, new: NewJob) -> str:
    options = [repr(new.spider)]
    options += [f"job_args={new.args!r}"] if new.args else []
    options += [f"job_settings={new.job_settings!r}"] if new.job_settings else []
    options += [f"add_tag={list(new.tags)!r}"] if new.tags else []
    options += [f"priority={new.priority}"] if new.priority != 2 else []
    options += [f"units={new.units}"] if new.units != 1 else []
    site = settings().url
    return (
        "from scrapinghub import ScrapinghubClient\n\n"
        f"client = ScrapinghubClient(\n    KEY,\n    dash_endpoint={site + '/api/'!r},\n"
        f"    endpoint={site!r},\n)\n"
        f"client.get_project({project}).jobs.run(\n    " + ",\n    ".join(options) + ",\n)"
    )
