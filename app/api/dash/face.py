"""The dash face as an application of its own: its routes on one page, its errors in its envelope."""

from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

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
    face.add_exception_handler(Exception, wire.render_crash)
    return face
