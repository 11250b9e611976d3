"""The machines that run jobs; administrators let them drain."""

from dataclasses import replace

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.db import reading, transaction
from app.errors import NotYours
from app.services import workers
from app.ui import live
from app.ui.wire import Visit, Visitor, enter, render, see

router = APIRouter(prefix="/workers")

AGE_MS = 10_000  # a silence that grows by so much is shown


@router.get("")
def listing(call: Visit) -> Response:
    """Every process that was heard of lately, and what it runs."""
    with reading() as session:
        visitor = _enter(session, call)
        processes = workers.listing(session)
        free = workers.free_slots(session)
    mine = [each for each in processes if each.kind == workers.WORKER]
    slots = sum(each.slots for each in mine if each.alive)
    running = sum(len(each.running) for each in mine)
    return render(
        "workers", visitor, workers=mine, schedulers=[each for each in processes if each not in mine],
        slots=slots, free=free, running=running, versions={each.version for each in processes if each.alive},
    )  # fmt: skip


@router.get("/events.sse")
def events(call: Visit) -> Response:
    """Tells when the page looks different."""

    def state(session: Session) -> object:
        _enter(session, call)
        return [replace(each, age=each.age // AGE_MS) for each in workers.listing(session)]

    return live.changes(state)


@router.post("/drain")
def drain(call: Visit) -> Response:
    """Let a worker take no new job, or take jobs again."""
    with transaction() as session:
        visitor = _enter(session, call)
        name, on = visitor.params.text("worker"), visitor.params.flag("on")
        workers.drain(session, name, on)
    if on:
        return see("/workers", f"Worker {name} finishes what it runs and takes no new job.")
    return see("/workers", f"Worker {name} takes jobs again.")


def _enter(session: Session, call: Visit) -> Visitor:
    visitor = enter(session, call)
    if not visitor.principal.admin:
        raise NotYours("Only an administrator can see the workers.")
    return visitor
