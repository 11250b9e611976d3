"""What happened in a project, and who did it."""

from contextlib import suppress
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from app.db import AnyRow, reading
from app.errors import BadParameter
from app.keys import JobKey
from app.services import activity
from app.ui.wire import Visit, enter_project, render

router = APIRouter(prefix="/p/{project}/activity")

PAGE = 100  # events
# What to show: the beginning of an event's name, and the words.
KINDS = (
    ("", "everything"),
    ("job:", "jobs"),
    ("job:scheduled", "jobs scheduled"),
    ("job:cancelled", "jobs cancelled"),
    ("job:deleted", "jobs deleted"),
    ("project:", "deploys and names"),
    ("member:", "members"),
    ("periodic:", "periodic jobs"),
)
TOLD = {
    "job:scheduled": "scheduled",
    "job:started": "started",
    "job:completed": "finished",
    "job:cancelled": "asked to stop",
    "job:deleted": "deleted",
    activity.DEPLOYED: "deployed version",
    activity.VERSION: "made current: version",
    activity.RENAMED: "renamed the project to",
    activity.MEMBER_ADDED: "added member",
    activity.MEMBER_REMOVED: "removed member",
    activity.PERIODIC_CREATED: "made the periodic job",
    activity.PERIODIC_CHANGED: "changed the periodic job",
    activity.PERIODIC_DELETED: "deleted the periodic job",
    activity.PERIODIC_PAUSED: "paused the periodic job",
    activity.PERIODIC_RESUMED: "resumed the periodic job",
    "periodic:started": "ran",
    "periodic:skipped": "skipped a run:",
    "periodic:missed": "missed a run:",
    "periodic:failed": "failed to run:",
}


@router.get("")
def listing(call: Visit, project: str) -> Response:
    """The newest events first; the query string is the filter."""
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        params = visitor.params
        kind, user = params.maybe("kind") or "", (params.maybe("user") or "").strip()
        below = params.moment("before")
        part = activity.part(session, project_id, PAGE, below, kind=kind, user=user)
    rows = [_row(project_id, event) for event in part.events]
    return render(
        "activity", visitor, rows=rows, more=part.next, before=below, kind=kind, user=user, kinds=KINDS,
        scanned=activity.SCANNED,
    )  # fmt: skip


def _row(project: int, row: AnyRow) -> dict[str, Any]:
    """An event for the page: time, who, what, and the job when it is one of this project."""
    told = orjson.loads(row.event)
    name = told.get("event")
    known = TOLD.get(name) if isinstance(name, str) else None
    what = next((told[field] for field in ("version", "name", "member", "reason") if told.get(field)), "")
    key = None
    with suppress(BadParameter):
        key = JobKey.parse(str(told.get("job", "")))
    user = told.get("user")
    return {
        "time": row.time,
        "user": user if isinstance(user, str) else "",
        "job": key if key is not None and key.project == project else None,
        "words": known,
        "what": what if known else "",
        "text": "" if known else row.event[:400],
        "name": name if isinstance(name, str) else "",
    }
