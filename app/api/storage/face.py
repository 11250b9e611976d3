"""The storage face as an application of its own: its routes on one page, its errors in its wording."""

from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.body import render_gone
from app.api.storage import (
    activity,
    collections,
    errors,
    frontier,
    jobq,
    jobs,
    projects,
    queue,
    records,
    system,
)
from app.api.storage.paths import RawPaths
from app.errors import CrawldockError
from app.logs import NO_TELEMETRY

MODULES = (records, jobs, queue, jobq, projects, collections, frontier, activity, system)
# The first parts of its paths.
BEGINNINGS = {route.path.split("/")[1] for each in MODULES for route in each.router.routes}


def create_face() -> FastAPI:
    """The application to mount at the root, after everything else."""
    face = FastAPI(
        title="Crawldock: the storage API",
        version="1",
        description="Items, logs, requests and metadata of jobs, the job queue, collections, frontiers. "
        "HTTP Basic with the API key as user name and an empty password, or a running job's key and token. "
        "Scheduling and deploying have [a page of their own](/docs).",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=NO_TELEMETRY,
        redirect_slashes=False,
    )
    face.openapi_version = "3.0.3"  # what the Swagger UI that is served with it understands
    face.add_middleware(RawPaths)
    for module in MODULES:
        face.include_router(module.router)
    face.add_exception_handler(CrawldockError, errors.render_error)
    face.add_exception_handler(HTTPException, errors.render_http_error)
    face.add_exception_handler(OperationalError, errors.render_no_database)
    face.add_exception_handler(ClientDisconnect, render_gone)
    face.add_exception_handler(Exception, errors.render_crash)
    return face
