"""A browser without a window: signed in, it keeps cookies and sends the token of our forms."""

from collections.abc import Iterator, Sequence
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.auth import COOKIE
from app.main import create_app
from app.services import logins
from app.ui import login
from app.ui.wire import FORM_TOKEN
from tests.factories import fake_revoke
from tests.platform import KEY


class Browser:
    """What a test does with the pages."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def sign_in(self, secret: str = KEY, user: str = "", **more: str) -> Any:
        """Fill in the sign-in form; returns the answer."""
        page = self.client.get("/login")
        token = (
            page.text.split('name="form_token" value="')[1].split('"')[0] if page.status_code == 200 else ""
        )
        data = {"secret": secret, "user": user, FORM_TOKEN: token, **more}
        return self.client.post("/login", data=data, follow_redirects=False)

    def get(self, path: str, **params: Any) -> Any:
        """Load a page; redirections are not followed."""
        return self.client.get(path, params=params or None, follow_redirects=False)

    def post(self, path: str, **fields: str | Sequence[str]) -> Any:
        """Send a form of ours; redirections are not followed."""
        token = logins.form_token(self.client.cookies[COOKIE])
        return self.client.post(path, data={FORM_TOKEN: token, **fields}, follow_redirects=False)

    def follow(self, answer: Any) -> str:
        """The text of the page that an answer leads to."""
        assert answer.status_code == 303, answer.text
        return unescape(self.client.get(answer.headers["location"]).text)


@pytest.fixture(autouse=True)
def revoked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The task ids of each revoke: there is no broker."""
    return fake_revoke(monkeypatch)


@pytest.fixture
def stranger(
    database: str, sent: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Browser]:
    """A browser that nobody has signed in with."""
    monkeypatch.setattr(login, "_tries", login.Tries())  # nobody has tried yet
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        yield Browser(client)


@pytest.fixture
def browser(stranger: Browser) -> Browser:
    """A browser that the admin has signed in with."""
    assert stranger.sign_in().status_code == 303
    return stranger


@pytest.fixture
def guest(stranger: Browser) -> Browser:
    """A browser that a user of project 1 has signed in with, who is no admin."""
    from tests.factories import make_key

    assert stranger.sign_in(make_key("guest", projects=[1])).status_code == 303
    return stranger
