"""What all pages share: entering a page, forms that are our own, rendering, moving on, errors."""

import hmac
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from fastapi import Depends, Request
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.api.body import Body, read_body
from app.api.params import Params
from app.auth import COOKIE, Principal, authenticate
from app.db import reading
from app.errors import (
    BadParameter,
    CrawldockError,
    NoAccess,
    NotAuthenticated,
    NotFound,
    NotYours,
    Refused,
    TooLarge,
    Unavailable,
)
from app.keys import number
from app.services import logins, projects
from app.ui import pages

log = logging.getLogger(__name__)

FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field, of every form that changes something
SAID = "crawldock-said"  # cookie: what the next page is to tell of what has just been done
UPLOADS = "/deploys"  # ends the address of the one page that takes files
SAID_LENGTH = 500  # characters

# Nothing on a page comes from elsewhere, nothing in it is executed but our own files.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

# The most specific class first.
STATUSES: tuple[tuple[type[CrawldockError], int], ...] = (
    (NoAccess, 403),
    (NotYours, 403),
    (BadParameter, 400),
    (Refused, 409),
    (TooLarge, 413),
    (NotFound, 404),
    (Unavailable, 503),
)


# What a form shows above itself, with what was typed still in it.
PROBLEMS = (BadParameter, Refused, NotFound, TooLarge)


@dataclass
class Call(Body):
    """A request for a page: what ``Body`` has, and where the browser is."""

    method: str = "GET"
    path: str = "/"
    query: str = ""
    referer: str = ""  # the page of ours that a form stood on: path and query
    said: str = ""  # what has just been done, in words

    def typed(self, name: str, default: str = "") -> str:
        """What stands in a field of the form that was sent, or is to stand there."""
        return next(iter(self.params.get(name, [])), default)


async def read_call(request: Request) -> Call:
    """Read a request; never raises a CrawldockError, see ``Body.problem``."""
    files = request.headers.get("content-type", "").startswith("multipart/")
    if files and not request.url.path.endswith(UPLOADS):
        # Files may be large, and are read before it is known whose they are.
        return _call(request, Body(problem=BadParameter("This page takes no files.")))
    return _call(request, await read_body(request))


def _call(request: Request, body: Body) -> Call:
    return Call(
        **{
            **vars(body),
            "key": None,  # a page is for whoever has signed in
            "login": request.cookies.get(COOKIE),
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query,
            "referer": _referer(request),
            # A part that fetches itself, in whatever tab, does not take it from the page that it is for.
            "said": ""
            if "hx-request" in request.headers
            else unquote(request.cookies.get(SAID, ""))[:SAID_LENGTH],
        }
    )


Visit = Annotated[Call, Depends(read_call)]


def _referer(request: Request) -> str:
    """Path and query of the page of ours that sent this; nothing of others."""
    page = urlsplit(request.headers.get("referer", ""))
    if page.netloc != request.url.netloc or not page.path.isprintable():
        return ""
    return page.path + (f"?{page.query}" if page.query else "")


@dataclass(frozen=True)
class Project:
    """The project that a page is about."""

    id: int
    name: str


@dataclass(frozen=True)
class Visitor:
    """Somebody who has signed in, on a page."""

    principal: Principal
    params: Params
    call: Call
    project: Project | None = None

    @property
    def name(self) -> str:
        """Who they are."""
        return self.principal.name

    @property
    def form_token(self) -> str:
        """The field that every form of theirs carries."""
        return logins.form_token(self.call.login or "")


def enter(session: Session, call: Call, project: str | None = None) -> Visitor:
    """What every page begins with: who is it, did our own form send this, may they see the project.

    Args:
        project: its id, as the path names it; None: the page is about no project.

    Raises:
        NotAuthenticated: they have not signed in, or not lately.
        NoAccess: the project does not exist, or is none of theirs.
        BadParameter, TooLarge: the request cannot be read, or was sent by no form of this browser.

    """
    principal = authenticate(session, None, call.login)
    if call.problem is not None:
        raise call.problem
    visitor = Visitor(principal, Params(call), call)
    if call.method != "GET":
        _check_form(visitor)
    if project is None:
        return visitor
    try:
        project_id = number(project, "project")
    except BadParameter:
        raise NotFound("There is no such page.") from None
    principal.enter(session, project_id)
    return Visitor(principal, visitor.params, call, Project(project_id, projects.name(session, project_id)))


def enter_project(session: Session, call: Call, project: str) -> tuple[Visitor, int]:
    """``enter`` a page of a project; also its id."""
    visitor = enter(session, call, project)
    assert visitor.project is not None
    return visitor, visitor.project.id


def _check_form(visitor: Visitor) -> None:
    sent = next(iter(visitor.call.params.get(FORM_TOKEN, [])), "")
    if not hmac.compare_digest(sent.encode(), visitor.form_token.encode()):
        raise BadParameter(
            "This form is too old, or was not sent from this page. Load the page and try again."
        )


# Answers


def render(template: str, visitor: Visitor | None, status: int = 200, **context: Any) -> HTMLResponse:
    """A page.

    Args:
        template: its name, without ``.html``.
        visitor: None: somebody who has not signed in.

    """
    text = pages.page(template, visitor=visitor, **context)
    response = HTMLResponse(text, status, HEADERS)
    if visitor is not None and visitor.call.said:
        response.delete_cookie(SAID, path="/")
    return response


def see(path: str, said: str = "", **query: Any) -> Response:
    """After something was done: on to another page, which says what.

    Args:
        path: of the page.
        said: a sentence; it is shown as text.
        query: parameters of the page.

    """
    if query:
        path += "?" + urlencode(query, doseq=True)
    response = RedirectResponse(path, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
    if said:
        value = quote(said[:SAID_LENGTH])
        response.set_cookie(SAID, value, max_age=60, path="/", httponly=True, samesite="lax")
    return response


# Errors


def _sign_in(call: Call) -> Response:
    """To the sign-in page, and back here afterwards."""
    here = call.path + (f"?{call.query}" if call.query else "")
    if call.method != "GET":  # a form: what was typed can still be had by going back
        return see("/login", next=call.referer or "/", ended="1")
    return see("/login", next=here) if here != "/" else see("/login")


def status_of(error: CrawldockError) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


async def render_error(request: Request, error: Exception) -> Response:
    """Exception handler of the pages for our own errors."""
    assert isinstance(error, CrawldockError)
    call = _call(request, Body())  # the body has been read, and is not to be shown
    if isinstance(error, NotAuthenticated):
        return _sign_in(call)
    return await run_in_threadpool(_error_page, call, status_of(error), str(error))


async def render_http_error(request: Request, error: Exception) -> Response:
    """Exception handler for unknown pages and wrong methods."""
    assert isinstance(error, HTTPException)
    words = {404: "There is no such page.", 405: "This page cannot do that."}
    text = words.get(error.status_code, str(error.detail))
    return await run_in_threadpool(_error_page, _call(request, Body()), error.status_code, text)


async def render_no_database(request: Request, error: Exception) -> Response:
    """Exception handler: the database is away or overloaded."""
    assert isinstance(error, OperationalError)
    log.warning("%s: no answer from the database: %s", request.url.path, str(error.orig).partition("\n")[0])
    return render("error", None, 503, code=503, message="The database does not answer. Try again.")


async def render_crash(request: Request, error: Exception) -> Response:
    """Exception handler for our own faults; the traceback goes to the log alone."""
    words = "Something went wrong here. It was noted in the platform's log."
    return render("error", None, 500, code=500, message=words)


def _project_of(session: Session, principal: Principal, path: str) -> Project | None:
    """The project that a path is about, if they may see it: its frame stays around the error."""
    parts = path.split("/")
    try:
        project_id = number(parts[2], "project") if parts[1:2] == ["p"] and len(parts) > 2 else 0
        principal.enter(session, project_id)
    except CrawldockError:
        return None
    return Project(project_id, projects.name(session, project_id))


def _error_page(call: Call, status: int, message: str) -> Response:
    """The page of an error, within the frame of whoever has signed in; a stranger learns nothing."""
    try:
        with reading() as session:
            principal = authenticate(session, None, call.login)
            visitor = Visitor(principal, Params(call), call, _project_of(session, principal, call.path))
    except NotAuthenticated:
        return _sign_in(call)
    except OperationalError:
        visitor = None
    return render("error", visitor, status, code=status, message=message)
