"""The web application: the whole site on one page."""

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from sqlalchemy import text
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import broker, metrics
from app.api.dash import face as dash_face
from app.api.storage import face as storage_face
from app.db import reading
from app.keys import LARGEST
from app.logs import NO_TELEMETRY
from app.services import keyuse, workers
from app.ui import docs
from app.ui import face as ui_face

log = logging.getLogger(__name__)


def health() -> Response:
    """200 once database, broker, a worker and the scheduler are there; else 503 and what is missing."""
    missing = []
    try:
        with reading() as session:
            session.execute(text("SELECT 1 FROM project LIMIT 1"))
            missing = [
                kind for kind in (workers.WORKER, workers.SCHEDULER) if not workers.alive(session, kind)
            ]
    except Exception as error:
        log.warning("health: database: %s", type(error).__name__)
        missing = ["database"]
    if not broker.alive():
        missing.append("broker")
    if missing:
        return JSONResponse({"status": "error", "missing": missing}, 503)
    return JSONResponse({"status": "ok"})


def live() -> Response:
    """200 as soon as this process answers."""
    return JSONResponse({"status": "ok"})


def document(face: FastAPI, prefix: str) -> dict[str, Any]:
    """The OpenAPI document of a face that is mounted at ``prefix``."""
    described = {**face.openapi(), "servers": [{"url": prefix or "/"}], "security": [{"key": []}]}
    for calls in described["paths"].values():
        for call in calls.values():  # the list of calls says what each is for
            call["summary"] = re.split(r"[:;.](?: |$)", call["description"])[0].replace("`", "")
            call["responses"] = {
                "200": {"description": "done"},
                "default": {"description": "refused; the answer says why"},
            }
            for parameter in call.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] in ("project", "spider", "job"):
                    parameter["schema"] = {"type": "integer", "minimum": 1, "maximum": LARGEST}
    key = {"type": "http", "scheme": "basic", "description": "API key as user, no password"}
    described["components"] = {**described.get("components", {}), "securitySchemes": {"key": key}}
    return described


NO_SNIFF = (b"x-content-type-options", b"nosniff")


class NoSniff:
    """Every answer is what it says it is: scraped data may look like a page, and browsers must not agree."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), NO_SNIFF]
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


class Faces:
    """Gives a face what begins as its paths do: to ask all routes of the site first would take longer than
    most of these calls do.
    """

    def __init__(self, app: ASGIApp, dash: ASGIApp, quick: Mapping[str, ASGIApp], storage: ASGIApp) -> None:
        self._app = app
        self._dash = dash
        self._quick = quick
        self._storage = storage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        face = self._app
        if scope["type"] == "http":
            first, slash, rest = scope["path"].removeprefix("/").partition("/")
            if first == "api" and slash:  # as a mount would
                root = scope.get("root_path", "")
                often = self._quick if scope["method"] == "POST" else {}
                face = often.get(slash + rest, self._dash)
                scope = {**scope, "root_path": f"{root}/api", "app_root_path": root}
            elif first in storage_face.BEGINNINGS:
                face = self._storage
        await face(scope, receive, send)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """What goes on beside the requests."""
    with keyuse.noting():
        yield


def create_site(dash: FastAPI, storage: FastAPI) -> FastAPI:
    """The pages, and what belongs to no face: both are described here, and the second takes the rest."""
    site = FastAPI(
        title="Crawldock", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan,
        telemetry=NO_TELEMETRY,
    )  # fmt: skip
    site.get("/openapi.json")(lambda: document(dash, "/api"))
    site.get("/docs")(lambda: docs.page("The API at /api", "/openapi.json"))
    site.get("/storage/openapi.json")(lambda: document(storage, ""))
    site.get("/storage/docs")(lambda: docs.page("The storage API", "/storage/openapi.json"))
    site.api_route("/health", methods=["GET", "HEAD"])(health)
    site.api_route("/health/live", methods=["GET", "HEAD"])(live)
    site.get("/metrics")(metrics.answer)
    site.mount("/static/swagger", StaticFiles(directory=docs.SWAGGER))
    ui_face.install(site)
    rest = Mount("", storage)  # last: it takes every path that nobody has,
    rest.path_regex = re.compile("^/(?P<path>.*)$", re.DOTALL)  # with line breaks too
    site.router.routes.append(rest)
    return site


def create_app() -> ASGIApp:
    """The application that uvicorn serves. The faces stand beside the site: what it does around each call
    takes a tenth of a short one.
    """
    dash, storage = dash_face.create_face(), storage_face.create_face()
    return NoSniff(Faces(create_site(dash, storage), dash, dash_face.create_quick(dash), storage))


app = create_app()
