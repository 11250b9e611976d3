"""Calls to collections, as tests make them."""

from typing import Any

import orjson
from starlette.testclient import TestClient

from tests.factories import everything

PAGES = "/collections/1/s/pages"


def body(*values: Any) -> bytes:
    return b"\n".join(map(orjson.dumps, values))


def post(client: TestClient, path: str, *values: Any, **params: Any) -> None:
    answer = client.post(path, content=body(*values), params=params)
    assert (answer.status_code, answer.content) == (200, b""), answer.text
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"


def put(client: TestClient, *keys: str, path: str = PAGES) -> None:
    post(client, path, *({"_key": key, "of": key} for key in keys))


def get(client: TestClient, path: str = PAGES, accept: str = "*/*", **params: Any) -> Any:
    answer = client.get(path, params=params, headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def lines(client: TestClient, path: str = PAGES, **params: Any) -> list[Any]:
    content = get(client, path, **params).content
    assert not content or content.endswith(b"\n")
    return [orjson.loads(line) for line in content.split(b"\n")[:-1]]


def keys(client: TestClient, path: str = PAGES, **params: Any) -> list[str]:
    return [each["_key"] for each in lines(client, path, meta="_key", **params)]


def count(client: TestClient, path: str = PAGES, **params: Any) -> Any:
    return get(client, f"{path}/count", **params).json()


def refused(client: TestClient, method: str, path: str, status: int, text: str, **sent: Any) -> None:
    before = everything()
    answer = client.request(method, path, **sent)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=UTF-8")
    assert text in answer.text
    assert everything() == before
