"""The code of a project: history, one deploy, going back, an upload."""

from typing import Any

import pytest

from app import db
from app.services import versions
from tests.factories import everything, make_project, make_version, pending_version, zipped
from tests.ui.conftest import Browser


def upload(browser: Browser, files: dict[str, Any] | None = None, **fields: str) -> Any:
    from app.auth import COOKIE
    from app.services import logins
    from app.ui.wire import FORM_TOKEN

    data = {FORM_TOKEN: logins.form_token(browser.client.cookies[COOKIE]), "version": "v1", **fields}
    files = {"egg": ("a.egg", zipped())} if files is None else files
    return browser.client.post("/p/1/deploys", data=data, files=files, follow_redirects=False)


def failed_version(name: str) -> int:
    version_id = pending_version(name)
    with db.transaction() as session:
        versions.claim_build(session, version_id)
        versions.fail(session, version_id, "first line\nno such package")
    return version_id


def test_the_history_tells_what_each_deploy_changed(browser: Browser) -> None:
    make_version("one", ["a", "b"])
    make_version("two", ["b", "c", "d"])
    failed_version("three")
    page = browser.get("/p/1/deploys").text
    for words in ("no such package", 'title="c, d">+2<', 'title="a">−1<', ">current<", ">failed<"):
        assert words in page
    assert page.count("Make current</button>") == 1


def test_an_empty_history_and_a_long_one(browser: Browser) -> None:
    assert "Nothing is deployed yet" in browser.get("/p/1/deploys").text
    ids = [make_version(f"v{n:02}") for n in range(32)]
    first = browser.get("/p/1/deploys").text
    assert ("v02" in first, "v01" in first, f"?before={ids[2]}" in first) == (True, False, True)
    assert "v01" in browser.get(f"/p/1/deploys?before={ids[2]}").text


def test_going_back(browser: Browser) -> None:
    first = make_version("one", ["a"])
    make_version("two", ["b"])
    assert "run version one" in browser.follow(browser.post(f"/p/1/deploys/{first}/current"))
    assert ">current<" in browser.get(f"/p/1/deploys/{first}").text


def test_a_version_that_cannot_be_current(browser: Browser) -> None:
    failed, other = failed_version("one"), make_version("two", project=make_project(2))
    before = everything()
    assert browser.post(f"/p/1/deploys/{failed}/current").status_code == 409
    for bad in (other, 99, "x", "0", "9" * 30):
        assert browser.post(f"/p/1/deploys/{bad}/current").status_code == 404
        assert browser.get(f"/p/1/deploys/{bad}").status_code == 404
        assert browser.get(f"/p/1/deploys/{bad}/events.sse").status_code == 404
    assert everything() == before


def test_one_deploy_in_full(browser: Browser) -> None:
    make_version("one", ["a"])
    page = browser.get(f"/p/1/deploys/{make_version('two', ['b'], requirements='requests==2')}").text
    assert all(words in page for words in ("requests==2", "+ b", "− a", "proj.settings", "by admin"))
    assert "/events.sse" not in page
    failed = browser.get(f"/p/1/deploys/{failed_version('three')}").text
    assert "first line\nno such package" in failed


def test_an_uploaded_egg_is_built_and_its_page_follows(browser: Browser, sent: list[Any]) -> None:
    answer = upload(browser, {"egg": ("a.egg", zipped()), "requirements": ("", b"")}, stack="scrapy:2.11")
    assert sent == [("build_version", 0)]
    page = browser.follow(answer)
    assert all(words in page for words in ("waits for a builder", "/events.sse", "scrapy:2.11", "v1"))
    assert 'data-live="/p/1/deploys/events.sse"' in browser.get("/p/1/deploys").text


@pytest.mark.parametrize(
    ("fields", "files", "words"),
    [
        ({"version": "a/b"}, None, "invalid value for version"),
        ({"version": ""}, None, "missing 'version' argument"),
        ({}, {"egg": ("", b"")}, "missing 'egg' argument"),
        ({}, {"egg": ("a.egg", b"no zip")}, "not an egg"),
        ({}, {"egg": ("a.egg", zipped()), "requirements": ("r.txt", b"\xff")}, "not UTF-8"),
    ],
)
def test_a_bad_upload_is_told_above_the_form(
    browser: Browser, fields: dict[str, str], files: dict[str, Any] | None, words: str
) -> None:
    before = everything()
    answer = upload(browser, files, stack="mine", **fields)
    assert (answer.status_code, 'role="alert"' in answer.text) == (400, True)
    assert words in answer.text.replace("&#39;", "'")
    assert 'value="mine"' in answer.text
    assert everything() == before


def test_others_are_kept_out_and_members_deploy(guest: Browser) -> None:
    version_id = make_version("two", project=make_project(2))
    assert guest.get("/p/2/deploys").status_code == 403
    assert guest.get(f"/p/2/deploys/{version_id}").status_code == 403
    assert guest.get("/p/2/deploys/events.sse").status_code == 403
    assert guest.get(f"/p/2/deploys/{version_id}/events.sse").status_code == 403
    assert guest.post(f"/p/2/deploys/{version_id}/current").status_code == 403
    assert upload(guest).status_code == 303
