"""The site as a whole: which face a path is given."""

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from app.api.storage import face as storage_face
from app.main import create_site


def test_no_page_of_the_site_begins_as_a_path_of_the_storage_face() -> None:
    pages = [
        each.path
        for route in create_site(FastAPI(), FastAPI()).routes
        for each in getattr(getattr(route, "original_router", None), "routes", [route])
        if isinstance(each, APIRoute)
    ]
    assert "/p/{project}/jobs" in pages
    assert not storage_face.BEGINNINGS & {"api", *(path.split("/")[1] for path in pages)}


@pytest.mark.parametrize(
    ("path", "status", "answer"),
    [
        ("/api/jobs/count.json?project=1", 200, '{"status":"ok","total":0}'),
        ("/jobq/1/count", 200, "0"),
        ("/health/live", 200, '{"status":"ok"}'),
        ("/api/nothing", 404, '{"status":"error","message":"no such path"}'),
        ("/jobq", 404, '"error":"Not Found"'),
        ("/nothing/at%0Aall", 404, "no such path: /nothing/at%0Aall"),
        ("/api", 404, "no such path: /api;"),
    ],
)
def test_a_path_is_answered_by_its_face(client: TestClient, path: str, status: int, answer: str) -> None:
    found = client.get(path)
    assert (found.status_code, answer in found.text) == (status, True), found.text
    assert found.headers["x-content-type-options"] == "nosniff"
