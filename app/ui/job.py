"""The page of one job: what became of it, its charts, and what can be done with it."""

from dataclasses import asdict
from typing import Any

import orjson
from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.db import reading, transaction
from app.errors import AlreadyScheduled, BadParameter, NotFound
from app.keys import JobKey
from app.models import JobState
from app.services import joblist, jobs, jobview, rerun, series
from app.services.jobview import View
from app.settings import settings
from app.ui.wire import HEADERS, Visit, Visitor, enter_project, render, see

# Whole numbers: other pages of a project have three parts too.
ADDRESS = "/p/{project}/{spider:int}/{job:int}"
router = APIRouter(prefix=ADDRESS)

TAG_LENGTH = 255
TABS = ("overview", "items", "requests", "log", "stats", "settings")


def enter_job(session: Session, call: Visit, project: str, spider: int, job: int) -> tuple[Visitor, View]:
    """What every page of a job begins with; ``enter_project``, and the job.

    Raises:
        NotFound: there is no such job, or it was deleted.

    """
    visitor, _ = enter_project(session, call, project)
    view = jobview.load(session, key_of(project, spider, job))
    if view.job.state == JobState.DELETED:
        raise NotFound(f"Job {view.key} was deleted.")
    return visitor, view


def page(template: str, visitor: Visitor, view: View, tab: str, **context: Any) -> Response:
    """A page of a job: ``tab`` is the name of the tab that it is."""
    grace = settings().stop_grace_seconds
    return render(template, visitor, view=view, tab=tab, grace=grace, **context)


def key_of(project: str, spider: int, job: int) -> JobKey:
    """The key that an address names.

    Raises:
        NotFound: no job can have it.

    """
    try:
        return JobKey.parse(f"{project}/{spider}/{job}")
    except BadParameter:
        raise NotFound("There is no such job.") from None


@router.get("")
def overview(call: Visit, project: str, spider: int, job: int) -> Response:
    """What happened, key figures, charts."""
    with reading() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        charts = series.of_job(session, view.id)
    return page("job", visitor, view, "overview", charts=charts, memory_mb=settings().job_memory_mb)


@router.get("/head")
def head(call: Visit, project: str, spider: int, job: int) -> Response:
    """The head of a tab alone: it follows the job while the tab stays as it is."""
    with reading() as session:
        visitor, view = enter_job(session, call, project, spider, job)
    tab = visitor.params.choice("tab", TABS)[:1]
    return page("job_layout", visitor, view, tab[0] if tab else "")


@router.get("/series.json")
def series_json(call: Visit, project: str, spider: int, job: int) -> Response:
    """What the charts draw."""
    with reading() as session:
        _, view = enter_job(session, call, project, spider, job)
        found = series.of_job(session, view.id)
    body = orjson.dumps({**asdict(found), "state": view.job.state})
    return Response(body, headers=HEADERS, media_type="application/json")


# What can be done with it


@router.post("/stop")
def stop(call: Visit, project: str, spider: int, job: int) -> Response:
    """Ask it to stop."""
    with transaction() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        stopped = jobs.request_stop(session, [view.key], visitor.name)
    return see(_page(view), "The job was asked to stop." if stopped else "The job had ended already.")


@router.post("/kill")
def kill(call: Visit, project: str, spider: int, job: int) -> Response:
    """Wait for it no longer: it was asked to stop before."""
    with transaction() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        killed = jobs.kill(session, [view.key], visitor.name)
    return see(_page(view), "The job is being killed." if killed else "There was nothing to kill.")


@router.post("/rerun")
def run_again(call: Visit, project: str, spider: int, job: int) -> Response:
    """Schedule a job like it."""
    with transaction() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        try:
            new = rerun.again(session, view.key, visitor.name)
        except (AlreadyScheduled, NotFound) as problem:
            return see(_page(view), f"{problem}: no job was scheduled.")
    return see(f"/p/{new}", f"Job {new} was scheduled: the same as {view.key}.")


@router.post("/delete")
def delete(call: Visit, project: str, spider: int, job: int) -> Response:
    """Delete it, with what it has found, once that was confirmed."""
    with transaction() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        confirmed = visitor.params.flag("confirmed")
        deleted = jobs.delete(session, [view.key], visitor.name) if confirmed else 0
    if not confirmed:
        found = f"{view.job.items} items, {view.job.pages} requests and {view.job.logs} log lines"
        return render(
            "confirm", visitor, section="jobs", title=f"Delete job {view.key}?", button="Delete",
            question=f"It is deleted with all that it has found: {found}.",
            action=f"{_page(view)}/delete", back=_page(view), fields={},
        )  # fmt: skip
    if not deleted:
        return see(_page(view), "A job that runs cannot be deleted. Stop it first.")
    return see(f"/p/{view.key.project}/jobs", f"Job {view.key} was deleted.")


@router.post("/tags")
def tags(call: Visit, project: str, spider: int, job: int) -> Response:
    """Add a tag, or remove one."""
    with transaction() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        added = (visitor.params.maybe("add", length=TAG_LENGTH) or "").strip()
        removed = visitor.params.maybe("remove", length=TAG_LENGTH) or ""
        if not added and not removed:
            raise BadParameter("Write the tag first.")
        changes = ([added] if added else [], [removed] if removed else [])
        if joblist.update_tags(session, [view.id], *changes):
            joblist.tell_of_tags(session, view.key.project, visitor.name, *changes, view.key)
    return see(_page(view))


def _page(view: View) -> str:
    return f"/p/{view.key}"
