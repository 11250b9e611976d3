"""The page of the API: its document is one that the vendored Swagger UI can show, and describes everything."""

from pathlib import Path

import swagger_ui_bundle
from starlette.testclient import TestClient


def test_the_page_can_show_the_document(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    script = next(part for part in page.text.split('"') if part.endswith("swagger-ui-bundle.js"))
    assert client.get(script).status_code == 200
    # Swagger UI 4 knows OpenAPI 3.0, and not 3.1.
    assert list(Path(swagger_ui_bundle.__file__).parent.rglob("*swagger-ui-4*"))
    assert client.get("/openapi.json").json()["openapi"].startswith("3.0.")


def test_every_call_and_parameter_is_described(client: TestClient) -> None:
    for path, calls in client.get("/openapi.json").json()["paths"].items():
        for call in calls.values():
            assert " " in call["summary"], path
            for parameter in call.get("parameters", ()):
                assert parameter["description"], (path, parameter["name"])
            for body in call.get("requestBody", {}).get("content", {}).values():
                assert all(each["description"] for each in body["schema"]["properties"].values()), path


def test_a_mistyped_endpoint_gets_a_hint(client: TestClient) -> None:
    for path in ("/jobs/list.json", "/schedule.json", "/nothing/at/all"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "below /api/" in answer.json()["message"]
