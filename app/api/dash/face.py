"""The dash face as an application of its own: its routes on one page, its errors in its envelope."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

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


# The calls that come in thousands.
OFTEN: dict[str, Callable[[Body], Awaitable[Response]]] = {
    "/schedule.json": run.schedule,
    "/run.json": run.run,
}


def create_quick(face: FastAPI) -> Starlette:
    """The application for those that come in thousands: what they do and how they fail is as in ``face``.

    FastAPI takes three times as long to reach a function as Starlette, and here it has nothing to do.
    """
    routes = [Route(path, _plain(endpoint), methods=["POST"]) for path, endpoint in OFTEN.items()]
    return Starlette(routes=routes, exception_handlers=face.exception_handlers)


def _plain(endpoint: Callable[[Body], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await endpoint(await read_body(request))

    return answer
