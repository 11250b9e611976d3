"""Errors in the storage API's two wordings (contract 1.1, 5.2, 5.12)."""

import logging

import orjson
from fastapi import Request
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.storage.wire import HINT, TEXT, raw_path
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

log = logging.getLogger(__name__)

# The real service is two programs, which word their errors differently (contract 1.1, 5.2).
DATA = ("items", "logs", "requests", "samples", "collections", "hcf", "activity", "system")
JOBQ = ("jobq", "jobs", "ids", "projects", "spiders", "botgroups")

STATUSES: tuple[tuple[type[CrawldockError], int, str], ...] = (
    (NotAuthenticated, 401, "Unauthorized"),
    (NoAccess, 403, "Forbidden"),
    (NotYours, 403, "Forbidden"),
    (BadParameter, 400, "Bad Request"),
    (Refused, 400, "Bad Request"),
    (TooLarge, 413, "Request Entity Too Large"),
    (NotFound, 404, "Not Found"),
    (Unavailable, 503, "Service Unavailable"),
)


def render_error(request: Request, error: Exception) -> Response:
    """Exception handler of the face for our own errors."""
    assert isinstance(error, CrawldockError)
    for kind, status, title in STATUSES:
        if isinstance(error, kind):
            message = title if status == 401 else str(error)
            return _error(request, status, title, message)
    raise error


def render_http_error(request: Request, error: Exception) -> Response:
    """Exception handler for unknown paths and wrong methods."""
    assert isinstance(error, HTTPException)
    path = raw_path(request)
    # Outside the resources it is most likely an endpoint that was mistyped.
    known = path.strip("/").partition("/")[0] in (*DATA, *JOBQ)
    lost = "" if known else f": {path[:200]}{HINT}"
    text = {404: f"no such path{lost}", 405: f"method {request.method} is not allowed here"}
    message = text.get(error.status_code, str(error.detail))
    response = _error(request, error.status_code, str(error.detail), message)
    response.headers.update(error.headers or {})
    return response


def render_no_database(request: Request, error: Exception) -> Response:
    """Exception handler: the database is away or overloaded; trying again makes sense."""
    assert isinstance(error, OperationalError)
    log.warning("%s: no answer from the database: %s", raw_path(request), str(error.orig).partition("\n")[0])
    return _error(request, 503, "Service Unavailable", "the database does not answer, try again")


def render_crash(request: Request, error: Exception) -> Response:
    """Exception handler for our own faults; the traceback goes to the log alone."""
    return _error(request, 500, "Internal Server Error", "Internal server error")


def _error(request: Request, status: int, title: str, message: str) -> Response:
    resource = raw_path(request).strip("/").partition("/")[0]
    if resource in DATA:
        return Response(f"{message}\n".encode(), status, media_type=TEXT)
    headers = {"WWW-Authenticate": 'Basic realm="apikey"'} if status == 401 else {}
    body = {"error": title, "message": message}
    if resource not in JOBQ:
        body["status"] = "error"  # whoever is lost here was looking for the dash API
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
