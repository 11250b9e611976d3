"""The code of a project: what was deployed, what changed, going back, and an upload by hand."""

from datetime import UTC, datetime

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.api.eggs import read_version
from app.db import reading, transaction
from app.errors import BadParameter, CrawldockError, NotFound
from app.keys import number
from app.models import VersionState
from app.services import deploys, versions
from app.settings import settings
from app.ui import live
from app.ui.wire import PROBLEMS, Visit, Visitor, enter_project, render, see, status_of

router = APIRouter(prefix="/p/{project}/deploys")

PAGE = 30  # deploys
IN_WORK = (VersionState.PENDING, VersionState.BUILDING)


@router.get("")
def listing(call: Visit, project: str) -> Response:
    """What was deployed, the last one first."""
    return _page(call, project)


@router.post("")
def upload(call: Visit, project: str) -> Response:
    """Deploy an egg; the page of the deploy then shows how its build goes on."""
    try:
        with reading() as session:
            visitor, project_id = enter_project(session, call, project)
        name, requirements, eggs = read_version(visitor.params)
        stack = visitor.params.maybe("stack") or None
        with transaction() as session:
            version_id = versions.add(
                session, project_id, name, eggs, requirements=requirements, stack=stack, by=visitor.name
            )
    except PROBLEMS as problem:
        return _page(call, project, problem)
    return see(f"/p/{project_id}/deploys/{version_id}")


@router.get("/events.sse")
def events(call: Visit, project: str) -> Response:
    """Tells when the list looks different."""

    def state(session: Session) -> object:
        _, project_id = enter_project(session, call, project)
        return deploys.history(session, project_id, PAGE, None)

    return live.changes(state)


@router.get("/{version}/events.sse")
def events_of_one(call: Visit, project: str, version: str) -> Response:
    """Tells when the page of a deploy looks different: its build goes on."""

    def state(session: Session) -> object:
        _, project_id, version_id = _enter(session, call, project, version)
        return deploys.detail(session, project_id, version_id)

    return live.changes(state)


@router.get("/{version}")
def one(call: Visit, project: str, version: str) -> Response:
    """One deploy: its log, requirements, and what it changed."""
    with reading() as session:
        visitor, project_id, version_id = _enter(session, call, project, version)
        found = deploys.detail(session, project_id, version_id)
    return render("deploy", visitor, each=found, version=found.deploy.version, in_work=IN_WORK)


@router.post("/{version}/current")
def make_current(call: Visit, project: str, version: str) -> Response:
    """Make a version the one that runs."""
    with transaction() as session:
        visitor, project_id, version_id = _enter(session, call, project, version)
        versions.make_current(session, project_id, version_id, visitor.name)
        name = deploys.detail(session, project_id, version_id).deploy.version.name
    return see(f"/p/{project_id}/deploys", f"Jobs that start from now on run version {name}.")


def _enter(session: Session, call: Visit, project: str, version: str) -> tuple[Visitor, int, int]:
    visitor, project_id = enter_project(session, call, project)
    try:
        return visitor, project_id, number(version, "version")
    except BadParameter:
        raise NotFound("There is no such page.") from None


def _page(call: Visit, project: str, problem: CrawldockError | None = None) -> Response:
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        below = visitor.params.moment("before") if call.method == "GET" else None
        rows = deploys.history(session, project_id, PAGE + 1, below)
    return render(
        "deploys", visitor, status_of(problem) if problem else 200, rows=rows[:PAGE], before=below,
        more=rows[PAGE - 1].version.id if len(rows) > PAGE else None, problem=problem, in_work=IN_WORK,
        url=settings().url, typed=call.typed,
        proposed=datetime.now(UTC).strftime("%Y%m%d-%H%M%S"),
    )  # fmt: skip
