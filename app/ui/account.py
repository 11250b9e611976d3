"""What everybody can do for themselves: a new password, a new key."""

from fastapi import APIRouter
from starlette.responses import Response

from app.db import reading, transaction
from app.errors import BadParameter, CrawldockError
from app.services import apikeys, passwords
from app.ui.wire import PROBLEMS, Visit, enter, render, see, status_of

router = APIRouter(prefix="/account")


@router.get("")
def form(call: Visit) -> Response:
    """Both forms."""
    return _page(call)


def _page(call: Visit, problem: CrawldockError | None = None, key: str | None = None) -> Response:
    with reading() as session:
        visitor = enter(session, call)
        user = apikeys.user(session, visitor.principal.key_id)
        projects = visitor.principal.projects(session)
    return render(
        "account", visitor, status_of(problem) if problem else 200, user=user, projects=projects, key=key,
        problem=problem, shortest=passwords.SHORTEST,
    )  # fmt: skip


@router.post("/password")
def set_password(call: Visit) -> Response:
    """Set one's own password; other browsers are signed out."""
    try:
        with reading() as session:
            visitor = enter(session, call)
            user = apikeys.user(session, visitor.principal.key_id)
        old = visitor.params.maybe("old", length=passwords.LONGEST) or ""
        if user.password and passwords.check(visitor.name, old) is None:
            raise BadParameter("That is not your present password.")
        new = visitor.params.maybe("new", length=passwords.LONGEST) or ""
        if new != (visitor.params.maybe("again", length=passwords.LONGEST) or ""):
            raise BadParameter("The two passwords differ.")
        stored = passwords.hashed(new)
        with transaction() as session:
            passwords.store(session, visitor.name, stored, visitor.name, visitor.call.login)
    except PROBLEMS as problem:
        return _page(call, problem)
    return see("/account", "Your password was set. Other browsers were signed out.")


@router.post("/key")
def new_key(call: Visit) -> Response:
    """Make oneself a new key; it is shown this once."""
    with transaction() as session:
        visitor = enter(session, call)
        confirmed = visitor.params.flag("confirmed")
        key = apikeys.rotate(session, visitor.name, visitor.name, call.login) if confirmed else None
    if key is not None:
        return _page(call, key=key)
    question = "Your present key is invalid at once: change it wherever it is used."
    return render(
        "confirm", visitor, section="", title="Make a new key?", button="Make a new key", back="/account",
        question=f"{question} Other browsers are signed out.", action="/account/key", fields={},
    )  # fmt: skip
