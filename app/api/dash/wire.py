"""The dash envelope: entering a call, answers, errors, and times (contract 2)."""

import logging
from typing import Annotated, Any

import orjson
from fastapi import Depends, Path, Request
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.body import Body, read_body, read_json_body, read_whole_json
from app.api.formats import time_text
from app.api.params import Param, Params
from app.auth import Principal, authenticate
from app.db import reading
from app.errors import (
    BadParameter,
    CrawldockError,
    DeployFailed,
    NoAccess,
    NotAuthenticated,
    NotFound,
    NotYours,
    Refused,
    TooLarge,
    Unavailable,
)
from app.keys import number

log = logging.getLogger(__name__)

Call = Annotated[Body, Depends(read_body)]
JsonCall = Annotated[Body, Depends(read_json_body)]
WholeCall = Annotated[Body, Depends(read_whole_json)]
ProjectId = Annotated[str, Path(description="id of the project")]
SpiderId = Annotated[str, Path(description="number of the spider, as in job keys")]

PROJECT = Param("project", "project id", required=True, type="integer")
JSON_CAP = 1000  # rows of one .json answer
JSON_ROWS = 100  # without `count`: what the service gave (contract 2.5)

# The most specific class first: status and `status` of the envelope (contract 2.3).
STATUSES: tuple[tuple[type[CrawldockError], int, str], ...] = (
    (NotAuthenticated, 403, "error"),
    (NoAccess, 400, "badrequest"),
    (BadParameter, 400, "badrequest"),
    (DeployFailed, 400, "error"),
    (NotYours, 403, "error"),
    (Refused, 400, "error"),
    (TooLarge, 413, "badrequest"),
    (NotFound, 404, "error"),
    (Unavailable, 503, "error"),
)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


def ok(**keys: Any) -> Response:
    """A success: the envelope with the keys of the call."""
    return json_response({"status": "ok", **keys})


def who(session: Session, body: Body) -> tuple[Principal, Params]:
    """Authenticate, then complain about a body that could not be read."""
    principal = authenticate(session, body.key, body.login)
    if body.problem is not None:
        raise body.problem
    return principal, Params(body)


def enter(session: Session, body: Body, project: str | None = None) -> tuple[Principal, Params, int]:
    """What every call on a project begins with, in the recorded order (contract 2.4):
    authentication, syntax of ``project``, access to it.

    Args:
        project: as the path names it; None: the parameter ``project`` does.

    """
    principal, params = who(session, body)
    project_id = params.project() if project is None else number(project, "project")
    principal.enter(session, project_id)
    return principal, params, project_id


def error_object(error: CrawldockError) -> tuple[int, dict[str, str]]:
    """Status code and envelope of an error."""
    for kind, status, word in STATUSES:
        if isinstance(error, kind):
            return status, {"status": word, "message": str(error)}
    raise error


def _path(request: Request) -> str:
    """The path below /api."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", ""))


def _failure(
    request: Request, status: int, envelope: dict[str, str], headers: dict[str, str] | None = None
) -> Response:
    """An error in the form of its call: the envelope, or that of v2 and releases (contract 4.13, 4.14)."""
    newer = _path(request).startswith("/v2/")
    if status == 400 and (newer or _path(request).startswith("/releases/")):
        return json_response({"non_field_errors": [envelope["message"]]}, status, headers)
    return json_response({"detail": envelope["message"]} if newer else envelope, status, headers)


async def render_error(request: Request, error: Exception) -> Response:
    """Exception handler of the face for our own errors."""
    assert isinstance(error, CrawldockError)
    status, envelope = error_object(error)
    if isinstance(error, NoAccess) and _path(request).startswith("/v2/"):
        status = 403
    return _failure(request, status, envelope)


async def render_http_error(request: Request, error: Exception) -> Response:
    """Exception handler for unknown paths and wrong methods; a stranger learns nothing of either."""
    assert isinstance(error, HTTPException)
    body = await read_body(request)
    try:
        await run_in_threadpool(_check, body)
    except NotAuthenticated as stranger:
        return await render_error(request, stranger)
    message = {404: "no such path", 405: f"method {request.method} is not allowed here"}
    text = message.get(error.status_code, str(error.detail))
    envelope = {"status": "error", "message": text}
    return _failure(request, error.status_code, envelope, dict(error.headers or {}))


def _check(body: Body) -> None:
    with reading() as session:
        authenticate(session, body.key, body.login)


async def render_no_database(request: Request, error: Exception) -> Response:
    """Exception handler: the database is away or overloaded; trying again makes sense."""
    assert isinstance(error, OperationalError)
    log.warning("%s: no answer from the database: %s", request.url.path, str(error.orig).partition("\n")[0])
    return _failure(request, 503, {"status": "error", "message": "the database does not answer, try again"})


async def render_crash(request: Request, error: Exception) -> Response:
    """Exception handler for our own faults: an envelope; the traceback goes to the log alone."""
    return _failure(request, 500, {"status": "error", "message": "Internal server error"})


def utc(milliseconds: int) -> str:
    """``YYYY-MM-DDTHH:MM:SS``, UTC (contract 2.6)."""
    return time_text(milliseconds, "T")


def paging(params: Params, cap: int | None = None) -> tuple[int, int]:
    """``count`` and ``offset`` (contract 2.5). A negative count means the last ones.

    Args:
        cap: most rows of one answer; None is unlimited.

    """
    count = params.integer("count", JSON_ROWS if cap else 2**31 - 1)
    if cap:
        count = max(min(count, cap), -cap)
    return count, params.integer("offset", 0, low=0)


COUNT = Param("count", "most rows to answer; negative: the last ones", type="integer")
OFFSET = Param("offset", "rows to skip", type="integer")
