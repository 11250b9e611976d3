"""scrapyd/*: deploying code (contract 4.4, 4.5), in scrapyd's own words."""

import time
from collections.abc import Iterator
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from app.api.dash.wire import PROJECT, Call, enter, error_object, ok, who
from app.api.eggs import read_version
from app.api.params import Param, describe, describe_form
from app.db import AnyRow, reading, transaction
from app.errors import CrawldockError, DeployFailed
from app.models import VersionState
from app.services import versions
from app.settings import settings

router = APIRouter(prefix="/scrapyd", tags=["deploy"])

VERSION = Param("version", "name of the version; letters, digits, and _ . + -", required=True)
ADD = (
    PROJECT,
    VERSION,
    Param("egg", "the project's egg, a zip file", required=True, type="file"),
    Param("requirements", "pip requirements of the project, a text file", type="file"),
    Param("eggs", "further eggs that the project needs", repeat=True, type="file"),
    Param("stack", "Scrapy version to run with, as scrapy:2.11; the platform's own when not given"),
)
POLL_SECONDS = 0.1


@router.get("/listprojects.json", openapi_extra=describe())
def list_projects(call: Call) -> Response:
    """Ids of the projects that the key may touch."""
    with reading() as session:
        principal, _ = who(session, call)
        return ok(projects=principal.projects(session))


@router.get("/listversions.json", openapi_extra=describe(PROJECT))
def list_versions(call: Call) -> Response:
    """Names of the project's versions, oldest first; an addition to the service's own calls."""
    with reading() as session:
        _, _, project = enter(session, call)
        return ok(versions=[version.name for version in versions.listing(session, project)])


@router.post("/delversion.json", openapi_extra=describe_form(PROJECT, VERSION))
def delete_version(call: Call) -> Response:
    """Delete a version; the newest that is left becomes the current one. An addition, as in scrapyd."""
    with transaction() as session:
        _, params, project = enter(session, call)
        versions.remove(session, project, params.text("version"))
    return ok()


@router.post("/addversion.json", openapi_extra=describe_form(*ADD))
def add_version(call: Call) -> Response:
    """Deploy a version: the build's log streams back as text lines, the last line is the answer as JSON."""
    with reading() as session:
        principal, params, project = enter(session, call)
    name, requirements, eggs = read_version(params)
    with transaction() as session:
        version_id = versions.add(
            session,
            project,
            name,
            eggs,
            requirements=requirements,
            stack=params.maybe("stack") or None,
            by=principal.name,
        )
    story = _follow(version_id, {"project": project, "version": name})
    # Nothing is sent before the build says something: a failure until then has its own status.
    first = next(story)
    if isinstance(first, CrawldockError):
        raise first
    return StreamingResponse(_rest(first, story), media_type="text/plain; charset=UTF-8")


def _follow(version_id: int, answer: dict[str, Any]) -> Iterator[bytes | CrawldockError]:
    """Watch a build: pieces of its log, then the last line, or the error."""
    shown = 0
    limit = settings().build_seconds + settings().list_seconds + 30
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with reading() as session:
            row: AnyRow = versions.progress(session, version_id)
        if len(row.log) > shown:
            yield row.log[shown:].encode()
            shown = len(row.log)
        if row.state == VersionState.READY:
            yield orjson.dumps({"status": "ok", **answer, "spiders": len(row.spiders)}) + b"\n"
            return
        if row.state == VersionState.FAILED:
            yield DeployFailed(row.error or "the build failed")
            return
        time.sleep(POLL_SECONDS)
    yield DeployFailed(f"no builder finished the version within {limit} s; is a scheduler running?")


def _rest(first: bytes, story: Iterator[bytes | CrawldockError]) -> Iterator[bytes]:
    yield first
    for piece in story:
        if not isinstance(piece, CrawldockError):
            yield piece
            continue
        # The whole story as lines, its first and last one as the answer.
        lines = [line for line in str(piece).splitlines() if line.strip()]
        yield "".join(f"{line}\n" for line in lines).encode()
        summary = DeployFailed(": ".join(dict.fromkeys([lines[0], lines[-1].strip()])))
        yield orjson.dumps(error_object(summary)[1]) + b"\n"
