"""The calls that come in thousands have an application of their own: they answer as the face does."""

from typing import Any
from unittest.mock import Mock

import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from app.api.dash.face import OFTEN, create_face, create_quick
from app.errors import BadSettings
from app.main import Faces
from app.services import jobs
from tests.factories import everything
from tests.platform import KEY

FINE = {"project": "1", "spider": "quotes"}
TRIES: dict[str, dict[str, Any]] = {
    "fine": {"data": FINE},
    "with the key in the form": {"data": {**FINE, "apikey": KEY}, "auth": None},
    "no key": {"data": FINE, "auth": None},
    "wrong key": {"data": FINE, "auth": ("0" * 32, "")},
    "GET": {"method": "GET", "params": FINE},
    "DELETE": {"method": "DELETE"},
    "HEAD": {"method": "HEAD"},
    "GET without a key": {"method": "GET", "auth": None},
    "no parameters": {},
    "no spider": {"data": {"project": "1"}},
    "unknown spider": {"data": {**FINE, "spider": "nobody"}},
    "no such project": {"data": {**FINE, "project": "9"}},
    "no number": {"data": {**FINE, "project": "x"}},
    "priority": {"data": {**FINE, "priority": "7"}},
    "not UTF-8": {"content": b"project=1&spider=%ff", "headers": {"content-type": "application/x-www-form-urlencoded"}},
    "JSON": {"json": FINE},
    "XML": {"content": b"<a/>", "headers": {"content-type": "text/xml"}},
    "multipart": {"data": FINE, "files": {"x": b"y"}},
    "cut off": {"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}},
    "too large": {"data": {**FINE, "a": "x" * (5 << 20)}},
}  # fmt: skip


def answer(quick: dict[str, ASGIApp], path: str, hear: bool = False, **request: Any) -> tuple[Any, ...]:
    """Args: hear: raise what a server would log."""
    face = create_face()
    client = TestClient(Faces(face, face, quick, face), raise_server_exceptions=hear)
    answered = client.request(**{"method": "POST", "url": f"/api{path}", "auth": (KEY, ""), **request})
    return answered.status_code, answered.content, dict(answered.headers)


@pytest.mark.usefixtures("sent")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("request_", TRIES.values(), ids=TRIES)
@pytest.mark.parametrize("path", OFTEN)
def test_it_answers_as_the_face_does(database: str, path: str, request_: dict[str, Any]) -> None:
    theirs = answer({}, path, **request_)
    before = everything()
    ours = answer(create_quick(create_face()), path, **request_)
    if theirs[0] == 200:
        assert b"already scheduled" in ours[1]
    else:
        assert (ours, everything()) == (theirs, before)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", OFTEN)
@pytest.mark.parametrize("error", [ZeroDivisionError, BadSettings])  # the second is ours, but no call's
def test_a_crash_is_told_as_the_face_does(
    database: str, path: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "schedule", Mock(side_effect=error))
    theirs = answer({}, path, data=FINE)
    assert theirs[0] == 500
    assert answer(create_quick(create_face()), path, data=FINE) == theirs
    for quick in ({}, create_quick(create_face())):
        with pytest.raises(error):
            answer(quick, path, hear=True, data=FINE)
