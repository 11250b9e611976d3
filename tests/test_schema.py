"""Calls as the OpenAPI documents of both faces allow them, and as they do not: never a server error."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.generation import GenerationMode
from starlette.testclient import TestClient

from app import db
from app.main import create_app
from app.models import Kind
from app.services import apikeys, projects
from app.settings import settings as our_settings
from tests.factories import (
    append,
    batch,
    finished_job,
    log_entry,
    make_job,
    make_periodic,
    make_version,
    running_job,
)
from tests.platform import KEY

EXAMPLES = 8  # calls of each operation and way
FACES = ("/openapi.json", "/storage/openapi.json")


@schemathesis.serializer("application/x-jsonlines")
def lines(context: Any, value: Any) -> bytes:
    """A list as a line each; what is text already, as it is."""
    if isinstance(value, str | bytes):
        return value if isinstance(value, bytes) else value.encode("utf-8", "replace")
    values = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(each).encode() + b"\n" for each in values)


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: bytes, request: pytest.FixtureRequest
) -> Iterator[TestClient]:
    """The faces over a project that has something of everything."""
    folder: Path = tmp_path_factory.mktemp("schema")
    (folder / "test.db").write_bytes(sqlite_template)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", f"sqlite:///{folder / 'test.db'}")
        patch.setenv("CRAWLDOCK_DATA_DIR", str(folder / "data"))
        # Nobody builds what is deployed here: do not wait long for it.
        patch.setenv("CRAWLDOCK_BUILD_SECONDS", "1")
        patch.setenv("CRAWLDOCK_LIST_SECONDS", "1")
        our_settings.cache_clear()
        db.engine.cache_clear()
        fill()
        with TestClient(create_app(), raise_server_exceptions=False) as client:
            client.auth = (KEY, "")
            yield client
    db.engine().dispose()
    db.engine.cache_clear()
    our_settings.cache_clear()


def fill() -> None:
    with db.transaction() as session:
        apikeys.create(session, "admin", admin=True, value=KEY)
        projects.create(session, "one", 1)
        projects.set_deployed(session, 1, ["quotes"])
    make_version()
    job = running_job(tags=["a"])
    append(job, batch(Kind.ITEMS, [{"n": n} for n in range(5)]), batch(Kind.LOGS, [log_entry("a")]))
    make_job(args={})
    make_periodic()
    finished_job(tags=["b"])


def operations(client: TestClient, path: str) -> list[Any]:
    schema = schemathesis.openapi.from_dict(client.get(path).json())
    return [result.ok() for result in schema.get_all_operations()]


def real(name: str, value: Any, n: int) -> Any:
    """Two of three calls are about what exists; else nothing behind the first check would be tried."""
    there = {"project": 1, "spider": 1, "job": n % 4}
    if n % 3 == 0 or name not in there:
        return value
    return f"1/1/{n % 4}" if isinstance(value, list) or name == "job" else there[name]


def send(client: TestClient, prefix: str, case: Any, n: int) -> Any:
    for place, value in case.path_parameters.items():
        case.path_parameters[place] = (
            value
            if n % 3 == 0
            else {"project": 1, "spider": 1, "job": n % 4, "periodic_id": 1}.get(place, value)
        )
    sent = case.as_transport_kwargs(base_url=f"http://testserver{prefix}")
    params = {name: real(name, value, n) for name, value in (sent.get("params") or {}).items()}
    if sent["url"].endswith(".sse"):
        params["timeout"] = 0  # what is there, and no waiting for more
    body, files = sent.get("data"), sent.get("files")
    if isinstance(body, dict):
        body = {name: real(name, value, n) for name, value in body.items()}
    content = body if isinstance(body, bytes | str) else None
    headers = {
        name: value for name, value in sent["headers"].items() if name.lower() in ("content-type", "accept")
    }
    if files is not None:
        headers.pop("Content-Type", None)
        files = [
            (name, (file, str(data) if isinstance(data, int | float) else data, *more))
            for name, (file, data, *more) in files
        ]
    data = (
        {name: value for name, value in (body or {}).items() if value is not None}
        if content is None
        else None
    )
    return client.request(
        sent["method"], sent["url"], params=params, headers=headers, files=files, content=content, data=data, json=sent.get("json"),
    )  # fmt: skip


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=str)
@pytest.mark.parametrize("face", FACES)
def test_no_call_is_a_server_error(client: TestClient, face: str, mode: GenerationMode) -> None:
    prefix = "/api" if face == FACES[0] else ""
    answers: Counter[int] = Counter()
    for operation in operations(client, face):

        @seed(1)
        @settings(
            max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def call(case: Any) -> None:
            answer = send(client, prefix, case, answers.total())
            answers[answer.status_code] += 1
            # 503 and 504 would be honest answers too, but nothing is away here.
            assert answer.status_code < 500, (case.operation.label, answer.text)

        call()
    print(answers)
    assert answers[200] > answers.total() / 20  # it does get through
