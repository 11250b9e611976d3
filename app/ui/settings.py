"""A project's name, settings and members."""

from typing import Any

import orjson
from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.db import reading, transaction
from app.errors import BadParameter, CrawldockError, NotYours
from app.services import apikeys, projects
from app.ui.wire import PROBLEMS, Visit, Visitor, enter_project, render, see, status_of

router = APIRouter(prefix="/p/{project}/settings")

VALUE_LENGTH = 1 << 20  # characters of a setting
LINE = 80  # characters of a value on one line
LONG = 100_000  # characters of a value that are put into a field


@router.get("")
def form(call: Visit, project: str) -> Response:
    """All settings on one page."""
    return _page(call, project)


def _page(
    call: Visit, project: str, problem: CrawldockError | None = None, shown: tuple[str, str] | None = None
) -> Response:
    """The page.

    Args:
        shown: a user and their new key, which is told this once.

    """
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        values = projects.settings(session, project_id)
        members = apikeys.members(session, project_id)
    rows = [(name, _written(value)) for name, value in values.items()]
    return render(
        "settings", visitor, status_of(problem) if problem else 200, rows=sorted(rows), members=members,
        problem=problem, shown=shown, typed=call.typed, long=LONG,
    )  # fmt: skip


def _written(value: Any) -> str:
    """JSON on one line where it fits."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= LINE else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


@router.post("/name")
def rename(call: Visit, project: str) -> Response:
    """Rename the project."""
    try:
        with transaction() as session:
            visitor, project_id = enter_project(session, call, project)
            name = visitor.params.text("name").strip()
            projects.rename(session, project_id, name, visitor.name)
    except PROBLEMS as problem:
        return _page(call, project, problem)
    return see(f"/p/{project_id}/settings", f"The project is now called {name}.")


@router.post("/set")
def set_value(call: Visit, project: str) -> Response:
    """Set one setting, new or not."""
    try:
        with transaction() as session:
            visitor, project_id = enter_project(session, call, project)
            name = visitor.params.text("setting").strip()
            projects.set_settings(session, project_id, {name: _value(visitor)}, visitor.name)
    except PROBLEMS as problem:
        return _page(call, project, problem)
    return see(f"/p/{project_id}/settings", f"Setting {name} was saved.")


def _value(visitor: Visitor) -> Any:
    text = visitor.params.text("value", length=VALUE_LENGTH)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadParameter(
            f"{text[:50]!r} is no JSON. Write a text in double quotes; numbers, true, false and null without."
        ) from None


@router.post("/unset")
def remove_value(call: Visit, project: str) -> Response:
    """Remove one setting."""
    with transaction() as session:
        visitor, project_id = enter_project(session, call, project)
        name = visitor.params.text("setting")
        projects.remove_setting(session, project_id, name, visitor.name)
    return see(f"/p/{project_id}/settings", f"Setting {name} was removed.")


# Members. Administrators alone change who may touch the project.


def _enter(session: Session, call: Visit, project: str) -> tuple[Visitor, int, str]:
    """An administrator, the project, and the user whom the form names."""
    visitor, project_id = enter_project(session, call, project)
    if not visitor.principal.admin:
        raise NotYours("Only an administrator can change who may touch a project.")
    return visitor, project_id, visitor.params.text("user").strip()


@router.post("/members/add")
def add_member(call: Visit, project: str) -> Response:
    """Let a user who has a key touch the project."""
    try:
        with transaction() as session:
            visitor, project_id, user = _enter(session, call, project)
            apikeys.add_member(session, project_id, user, visitor.name)
    except PROBLEMS as problem:
        return _page(call, project, problem)
    return see(f"/p/{project_id}/settings", f"{user} may touch this project now.")


@router.post("/members/new")
def new_user(call: Visit, project: str) -> Response:
    """Make a user, whose key is shown this once."""
    try:
        with transaction() as session:
            visitor, project_id, user = _enter(session, call, project)
            admin = visitor.params.flag("admin")
            theirs = () if admin else (project_id,)
            key = apikeys.create(session, user, projects=theirs, admin=admin, by=visitor.name)
    except PROBLEMS as problem:
        return _page(call, project, problem)
    return _shown(call, project, user, key)


@router.post("/members/key")
def new_key(call: Visit, project: str) -> Response:
    """Give a user a new key; the old one is invalid at once."""
    question = (
        "The present key is invalid at once, and every browser in which they are signed in is signed out."
    )
    if not (asked := _confirmed(call, project, "key", "Make a new key for {}?", "Make a new key", question)):
        with transaction() as session:
            visitor, _, user = _enter(session, call, project)
            login = visitor.call.login if user == visitor.name else None
            key = apikeys.rotate(session, user, visitor.name, login)
        return _shown(call, project, user, key)
    return asked


@router.post("/members/remove")
def remove_member(call: Visit, project: str) -> Response:
    """Take a user's right to touch the project."""
    question = "Their key stays valid for their other projects."
    if not (asked := _confirmed(call, project, "remove", "Remove {} from the project?", "Remove", question)):
        with transaction() as session:
            visitor, project_id, user = _enter(session, call, project)
            apikeys.remove_member(session, project_id, user, visitor.name)
        return see(f"/p/{project_id}/settings", f"{user} may not touch this project any more.")
    return asked


@router.post("/members/revoke")
def revoke(call: Visit, project: str) -> Response:
    """Make a user's key invalid, for all projects."""
    question = "The key is invalid at once, for all projects, and cannot be brought back. Running jobs go on."
    if not (
        asked := _confirmed(call, project, "revoke", "Revoke the key of {}?", "Revoke the key", question)
    ):
        with transaction() as session:
            visitor, project_id, user = _enter(session, call, project)
            if user == visitor.name:
                raise BadParameter("You cannot revoke your own key. Make a new one instead.")
            apikeys.revoke(session, user, visitor.name)
        return see(f"/p/{project_id}/settings", f"The key of {user} is invalid now.")
    return asked


def _confirmed(
    call: Visit, project: str, action: str, title: str, button: str, question: str
) -> Response | None:
    """The page that asks first; None: it was answered."""
    with reading() as session:
        visitor, project_id, user = _enter(session, call, project)
    if visitor.params.flag("confirmed"):
        return None
    back = f"/p/{project_id}/settings"
    return render(
        "confirm", visitor, section="settings", title=title.format(user), question=question, button=button,
        action=f"{back}/members/{action}", fields={"user": user}, back=back,
    )  # fmt: skip


def _shown(call: Visit, project: str, user: str, key: str) -> Response:
    """The page with a new key; it is in no other answer, and no browser keeps this one."""
    return _page(call, project, shown=(user, key))
