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
    ("project:", "deploys, names and settings"),
    ("member:", "members"),
    ("key:", "keys and passwords"),
    ("webhook:", "webhooks"),
    ("periodic:", "periodic jobs"),
)
TOLD = {
    "job:scheduled": "scheduled",
    "job:started": "started",
    "job:completed": "finished",
    "job:cancelled": "asked to stop",
    "job:deleted": "deleted",
    activity.KILLED: "killed",
    activity.PRIORITY: "changed the priority of",
    activity.TAGGED: "changed the tags of",
    activity.DEPLOYED: "deployed version",
    activity.VERSION: "made current: version",
    activity.RENAMED: "renamed the project to",
    activity.SETTINGS: "changed settings:",
    activity.SETTING_REMOVED: "removed the setting",
    activity.MEMBER_ADDED: "added member",
    activity.MEMBER_REMOVED: "removed member",
    activity.KEY_CREATED: "made the key of",
    activity.KEY_ROTATED: "made a new key for",
    activity.KEY_REVOKED: "revoked the key of",
    activity.PASSWORD_SET: "set the password of",
    activity.PASSWORD_REMOVED: "removed the password of",
    activity.WEBHOOK_CREATED: "added a webhook to",
    activity.WEBHOOK_CHANGED: "changed the webhook to",
    activity.WEBHOOK_DELETED: "deleted the webhook to",
    activity.WEBHOOK_ENABLED: "enabled the webhook to",
    activity.WEBHOOK_DISABLED: "disabled the webhook to",
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

WHAT = ("version", "name", "member", "reason", "host")  # fields that say to what
DETAILS = (("added", "added"), ("removed", "removed"), ("priority", "to"))  # of an event of jobs, with words


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
    what = next((told[field] for field in WHAT if told.get(field)), "")
    if name == activity.TAGGED and "jobs" in told:
        what = f"{told['jobs']} job{'' if told['jobs'] == '1' else 's'}"
    details = [f"{words} {told[field]}" for field, words in DETAILS if told.get(field)]
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
        "details": ", ".join(details) if name in (activity.PRIORITY, activity.TAGGED) else "",
        "text": "" if known else row.event[:400],
        "name": name if isinstance(name, str) else "",
    }
