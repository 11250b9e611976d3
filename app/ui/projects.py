"""The page of all projects."""

from fastapi import APIRouter
from starlette.responses import Response

from app.db import reading, transaction
from app.errors import CrawldockError, NotYours
from app.keys import number
from app.services import overview, projects
from app.ui.wire import PROBLEMS, Visit, enter, render, see, status_of

router = APIRouter()

PAGE = 30  # projects


@router.get("/")
def listing(call: Visit) -> Response:
    """What every project that they may touch is doing."""
    return _page(call)


@router.post("/")
def create(call: Visit) -> Response:
    """Create a project."""
    try:
        with transaction() as session:
            visitor = enter(session, call)
            if not visitor.principal.admin:
                raise NotYours("Only an administrator can create projects.")
            name = visitor.params.text("name", length=100)
            wanted = visitor.params.maybe("id")
            project = projects.create(session, name, number(wanted, "id") if wanted else None)
    except NotYours:
        raise
    except PROBLEMS as problem:
        return _page(call, problem)
    return see(f"/p/{project}/jobs", f"Project {project} was created.")


def _page(call: Visit, problem: CrawldockError | None = None) -> Response:
    with reading() as session:
        visitor = enter(session, call)
        after = visitor.params.integer("after", 0, low=0)
        ids = [each for each in visitor.principal.projects(session) if each > after]
        rows = overview.of(session, ids[:PAGE])
    more = ids[PAGE - 1] if len(ids) > PAGE else None
    status = status_of(problem) if problem else 200
    return render("projects", visitor, status, rows=rows, more=more, problem=problem)
