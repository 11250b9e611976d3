"""The web application: the whole site on one page."""

import logging
import re
from pathlib import Path
from typing import Any

import swagger_ui_bundle
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from sqlalchemy import text
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from app import broker
from app.api.dash import face as dash_face
from app.api.storage import face as storage_face
from app.db import reading
from app.services import workers

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


def nothing_here(request: Request, error: Exception) -> Response:
    """404 outside the faces: most likely an endpoint that was mistyped."""
    message = f"no such path: {request.url.path[:200]}; the API is below /api/ (with the slash at its end)"
    return JSONResponse({"status": "error", "message": message}, 404)


def create_app() -> FastAPI:
    """The application that uvicorn serves."""
    app = FastAPI(title="Crawldock", docs_url=None, redoc_url=None, openapi_url=None)
    dash = dash_face.create_face()
    app.mount("/api", dash)

    def openapi() -> dict[str, Any]:
        document = {**dash.openapi(), "servers": [{"url": "/api"}], "security": [{"key": []}]}
        for calls in document["paths"].values():
            for call in calls.values():  # the list of calls says what each is for
                call["summary"] = re.split(r"[:;.](?: |$)", call["description"])[0].replace("`", "")
        described = {"type": "http", "scheme": "basic", "description": "API key as user, no password"}
        document["components"] = {**document.get("components", {}), "securitySchemes": {"key": described}}
        return document

    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Crawldock API",
            swagger_js_url="/static/swagger/swagger-ui-bundle.js",
            swagger_css_url="/static/swagger/swagger-ui.css",
            swagger_favicon_url="/static/swagger/favicon-32x32.png",
        )

    app.get("/openapi.json", include_in_schema=False)(openapi)
    app.get("/docs", include_in_schema=False)(docs)
    app.get("/", include_in_schema=False)(lambda: RedirectResponse("/docs"))
    app.get("/health")(health)
    app.get("/health/live")(live)
    vendor = Path(swagger_ui_bundle.__file__).parent / "vendor"
    swagger = next(path.parent for path in sorted(vendor.rglob("swagger-ui-bundle.js")))
    app.add_exception_handler(404, nothing_here)
    app.mount("/static/swagger", StaticFiles(directory=swagger))
    app.mount("", storage_face.create_face())
    return app


app = create_app()
