"""The dashboard's routes on one page; its own files; its errors as pages."""

from urllib.parse import quote

from fastapi import APIRouter, FastAPI
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from app.api.body import render_gone
from app.db import reading
from app.errors import CrawldockError
from app.ui import (
    account,
    activity,
    collections,
    deploys,
    job,
    jobs,
    login,
    pages,
    periodic,
    projects,
    records,
    run,
    settings,
    spiders,
    webhooks,
    wire,
    workers,
)

PAGES = (
    login,
    projects,
    jobs,
    run,
    job,
    records,
    periodic,
    spiders,
    deploys,
    collections,
    activity,
    settings,
    webhooks,
    workers,
    account,
)
FOR_EVER = "public, max-age=31536000, immutable"  # the address of a file changes with its content


class Files(StaticFiles):
    """Our own files, kept by browsers for ever when asked for by an address of ``pages.asset``."""

    def file_response(self, *args: object, **options: object) -> Response:
        """As usual, with how long it may be kept."""
        response = super().file_response(*args, **options)  # type: ignore[arg-type]
        scope = args[2]
        assert isinstance(scope, dict)
        response.headers["Cache-Control"] = FOR_EVER if scope["query_string"] else "no-cache"
        return response


def install(app: FastAPI) -> None:
    """Add the pages to the site. They are routes of the site itself: a mount at its root would take all."""
    for module in PAGES:
        app.include_router(module.router, include_in_schema=False)
    app.include_router(_unknown(), include_in_schema=False)  # last
    app.mount("/static/ui", Files(directory=pages.STATIC))
    app.add_exception_handler(CrawldockError, wire.render_error)
    app.add_exception_handler(HTTPException, wire.render_http_error)
    app.add_exception_handler(OperationalError, wire.render_no_database)
    app.add_exception_handler(ClientDisconnect, render_gone)
    app.add_exception_handler(Exception, wire.render_crash)


def _unknown() -> APIRouter:
    """What lies below ``/p`` and is no page; addresses that clients print lead to theirs (contract 9.2)."""
    router = APIRouter()

    def elsewhere(call: wire.Visit) -> Response:
        with reading() as session:
            wire.enter(session, call)
        path = call.path.rstrip("/")
        parts = path.split("/")[3:]  # after the project
        if path.count("/") == 2:
            path += "/jobs"
        elif parts == ["deploy"]:
            path += "s"
        if call.method != "GET" or path in (call.path, "/p"):
            raise HTTPException(404)
        return wire.see(quote(path) + (f"?{call.query}" if call.query else ""))

    for path in ("/p", "/p/{rest:path}"):
        router.add_api_route(path, elsewhere, methods=["GET", "POST"])
    return router
