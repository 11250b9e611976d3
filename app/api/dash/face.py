"""The dash face as an application of its own: its routes on one page, its errors in its envelope."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.body import Body, read_body, render_gone
from app.api.dash import (
    comments,
    eggs,
    images,
    jobs,
    live,
    periodicjobs,
    records,
    reports,
    run,
    scrapyd,
    spiders,
    v2,
    visual,
    wire,
)
from app.errors import CrawldockError
from app.logs import NO_TELEMETRY


def create_face() -> FastAPI:
    """The application to mount at /api."""
    face = FastAPI(
        title="Crawldock: the Scrapinghub API",
        version="1",
        description="Schedule, watch and stop Scrapy spiders; read what they found. "
        "HTTP Basic with the API key as user name and an empty password, or `apikey=KEY`. "
        "The storage API has [a page of its own](/storage/docs).",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=NO_TELEMETRY,
    )
    face.openapi_version = "3.0.3"  # what the Swagger UI that is served with it understands
    for module in (run, jobs, spiders, scrapyd, eggs, records, live, reports, comments, visual, images, v2):
        face.include_router(module.router)
    for prefix in ("/v2", ""):
        face.include_router(periodicjobs.router, prefix=prefix)
    face.add_exception_handler(CrawldockError, wire.render_error)
    face.add_exception_handler(HTTPException, wire.render_http_error)
    face.add_exception_handler(OperationalError, wire.render_no_database)
    face.add_exception_handler(ClientDisconnect, render_gone)
    face.add_exception_handler(Exception, wire.render_crash)
    return face


Endpoint = Callable[[Body], Awaitable[Response]]
# The calls that come in thousands.
OFTEN: dict[str, Endpoint] = {"/schedule.json": run.schedule, "/run.json": run.run}


class Quick:
    """One of these calls as an application: what it does and how it fails is as in ``face``.

    There is nothing else on the way to the function, which FastAPI takes several times as long to reach.
    """

    def __init__(self, endpoint: Endpoint, face: FastAPI) -> None:
        self._endpoint = endpoint
        self._handlers: dict[Any, Any] = face.exception_handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        request = Request(scope, receive, send)
        try:
            answer = await self._endpoint(await read_body(request))
        except Exception as error:
            kind = next(kind for kind in type(error).__mro__ if kind in self._handlers)
            try:
                answer = await self._handlers[kind](request, error)
            except Exception as unknown:  # to that handler
                kind, answer = Exception, await self._handlers[Exception](request, unknown)
            await answer(scope, receive, send)
            if kind is Exception:
                raise  # a fault of ours: the server logs it
        else:
            await answer(scope, receive, send)


def create_quick(face: FastAPI) -> dict[str, ASGIApp]:
    """The applications for POST to these paths."""
    return {path: Quick(endpoint, face) for path, endpoint in OFTEN.items()}
