"""Webhooks of a project: whom it tells, of what, and what has come of it."""

from collections.abc import Sequence

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.api.params import Params
from app.db import reading, transaction
from app.errors import CrawldockError, NotFound
from app.keys import number
from app.services import webhooks
from app.ui import live
from app.ui.wire import PROBLEMS, Visit, Visitor, enter_project, render, see, status_of

router = APIRouter(prefix="/p/{project}/settings/webhooks")

PAGE = 30  # deliveries

# What each event means, beside its box.
WORDS = {
    "job:scheduled": "a job was scheduled, and waits",
    "job:started": "a job has started to run",
    "job:completed": "a job has ended, whatever the outcome",
    "job:cancelled": "somebody asked a job to stop",
    "job:deleted": "a job was deleted",
    "periodic:started": "a schedule has scheduled its jobs",
    "periodic:skipped": "a run was skipped: the one before had not ended",
    "periodic:missed": "a run was missed: no scheduler was alive",
    "periodic:failed": "a run failed: no job could be scheduled",
}


@router.get("")
def listing(call: Visit, project: str) -> Response:
    """All webhooks, and the form for another one."""
    return _list(call, project)


def _list(
    call: Visit, project: str, problem: CrawldockError | None = None, made: tuple[str, str] | None = None
) -> Response:
    """The page.

    Args:
        made: the URL and the secret of a new webhook, which is told this once.

    """
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        rows = webhooks.listing(session, project_id)
    return render(
        "webhooks", visitor, status_of(problem) if problem else 200, rows=rows, made=made, problem=problem,
        words=WORDS, url=call.typed("url") if problem else "", chosen=_ticked(call) if problem else (),
    )  # fmt: skip


def _ticked(call: Visit) -> Sequence[str]:
    return call.params.get("event", ())


@router.post("")
def create(call: Visit, project: str) -> Response:
    """Add a webhook; its secret is shown this once."""
    try:
        with transaction() as session:
            visitor, project_id = enter_project(session, call, project)
            url = _url(visitor.params)
            _, secret = webhooks.create(session, project_id, url, _events(visitor.params), visitor.name)
    except PROBLEMS as problem:
        return _list(call, project, problem)
    return _list(call, project, made=(url, secret))


def _url(params: Params) -> str:
    return params.text("url", length=10 * webhooks.URL_LENGTH).strip()


def _events(params: Params) -> Sequence[str]:
    """Those that were ticked; all of them is the same as none."""
    chosen = params.choice("event", webhooks.EVENTS)
    return () if set(chosen) == set(webhooks.EVENTS) else chosen


@router.get("/{webhook}")
def one(call: Visit, project: str, webhook: str) -> Response:
    """One webhook, and the log of its deliveries."""
    return _one(call, project, webhook)


def _one(call: Visit, project: str, webhook: str, problem: CrawldockError | None = None) -> Response:
    with reading() as session:
        visitor, project_id, webhook_id = _enter(session, call, project, webhook)
        hook = webhooks.one(session, project_id, webhook_id)
        after = visitor.params.moment("after")
        rows = webhooks.deliveries(session, project_id, webhook_id, PAGE + 1, after)
    more = rows[PAGE - 1].id if len(rows) > PAGE else None
    chosen = _ticked(call) if problem else hook.events
    return render(
        "webhook", visitor, status_of(problem) if problem else 200, hook=hook, rows=rows[:PAGE], more=more,
        problem=problem, words=WORDS, url=call.typed("url", hook.url), chosen=chosen, after=after,
    )  # fmt: skip


@router.get("/{webhook}/events.sse")
def events(call: Visit, project: str, webhook: str) -> Response:
    """Tells when the log of its deliveries looks different."""

    def state(session: Session) -> object:
        _, project_id, webhook_id = _enter(session, call, project, webhook)
        return webhooks.deliveries(session, project_id, webhook_id, PAGE)

    return live.changes(state)


def _enter(session: Session, call: Visit, project: str, webhook: str) -> tuple[Visitor, int, int]:
    visitor, project_id = enter_project(session, call, project)
    try:
        return visitor, project_id, number(webhook, "webhook")
    except CrawldockError:
        raise NotFound("There is no such page.") from None


def _here(project_id: int, webhook_id: int) -> str:
    return f"/p/{project_id}/settings/webhooks/{webhook_id}"


@router.post("/{webhook}")
def change(call: Visit, project: str, webhook: str) -> Response:
    """Change its address and events."""
    try:
        with transaction() as session:
            visitor, project_id, webhook_id = _enter(session, call, project, webhook)
            url, events = _url(visitor.params), _events(visitor.params)
            webhooks.update_one(session, project_id, webhook_id, visitor.name, url=url, events=events)
    except PROBLEMS as problem:
        return _one(call, project, webhook, problem)
    return see(_here(project_id, webhook_id), "The webhook was changed.")


@router.post("/{webhook}/enable")
def enable(call: Visit, project: str, webhook: str) -> Response:
    """Enable or disable it."""
    with transaction() as session:
        visitor, project_id, webhook_id = _enter(session, call, project, webhook)
        enabled = visitor.params.flag("enabled")
        webhooks.update_one(session, project_id, webhook_id, visitor.name, enabled=enabled)
    said = "enabled: it is told of what happens from now on" if enabled else "disabled"
    return see(_here(project_id, webhook_id), f"The webhook is {said}.")


@router.post("/{webhook}/test")
def test(call: Visit, project: str, webhook: str) -> Response:
    """Send a test event."""
    with transaction() as session:
        visitor, project_id, webhook_id = _enter(session, call, project, webhook)
        webhooks.test(session, project_id, webhook_id, visitor.name)
    return see(
        _here(project_id, webhook_id), "A test is on its way: the first line below tells what comes of it."
    )


@router.post("/{webhook}/redeliver")
def redeliver(call: Visit, project: str, webhook: str) -> Response:
    """Send a delivery again."""
    with transaction() as session:
        visitor, project_id, webhook_id = _enter(session, call, project, webhook)
        delivery = visitor.params.moment("delivery") or 0
        webhooks.redeliver(session, project_id, delivery)
    return see(_here(project_id, webhook_id), f"Delivery msg_{delivery} is sent again.")


@router.post("/{webhook}/delete")
def delete(call: Visit, project: str, webhook: str) -> Response:
    """Remove it, once that was confirmed."""
    with transaction() as session:
        visitor, project_id, webhook_id = _enter(session, call, project, webhook)
        hook = webhooks.one(session, project_id, webhook_id)
        if visitor.params.flag("confirmed"):
            webhooks.remove(session, project_id, webhook_id, visitor.name)
            return see(f"/p/{project_id}/settings/webhooks", "The webhook was deleted.")
    here = _here(project_id, webhook_id)
    return render(
        "confirm", visitor, title="Delete this webhook?",
        question=f"{hook.url} is told no more, its log of deliveries goes too. Disabling keeps both.",
        action=f"{here}/delete", fields={}, button="Delete webhook", back=here,
    )  # fmt: skip
