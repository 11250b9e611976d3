"""Signing in and out; nothing is seen, and nothing changed, by anybody else."""

import re

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from app import db
from app.auth import COOKIE
from app.main import create_site
from app.models import Login
from app.services import apikeys, passwords
from app.ui import login
from app.ui.login import STRANGER
from app.ui.wire import FORM_TOKEN
from tests.factories import everything, finished_job, make_job, make_key
from tests.platform import KEY
from tests.ui.conftest import Browser

PLACES = {
    "project": "1", "spider": "1", "job": "1", "number": "1", "id": "1", "rest": "x", "type": "s", "name": "x",
}  # fmt: skip
PUBLIC = {
    "/login",
    "/health",
    "/health/live",
    "/docs",
    "/openapi.json",
    "/storage/docs",
    "/storage/openapi.json",
}
OTHERS_WAY = {"/metrics"}  # asks for a key of its own


def pages() -> list[tuple[str, str]]:
    """Every page of the site: (method, path)."""
    found = []
    for route in create_site(FastAPI(), FastAPI()).routes:
        for each in getattr(getattr(route, "original_router", None), "routes", [route]):
            if isinstance(each, APIRoute) and each.path not in PUBLIC | OTHERS_WAY:
                path = re.sub(r"{(\w+)(:\w+)?}", lambda match: PLACES.get(match[1], "1"), each.path)
                found += [(method, path) for method in each.methods]
    return sorted(found)


def test_a_key_signs_in(stranger: Browser) -> None:
    answer = stranger.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = next(each for each in answer.headers.get_list("set-cookie") if each.startswith(COOKIE + "="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Projects" in stranger.get("/").text


def test_a_user_signs_in_with_a_password(stranger: Browser) -> None:
    make_key("anna", projects=[1])
    with db.transaction() as session:
        passwords.store(session, "anna", passwords.hashed("correct horse"), "somebody")
    assert stranger.sign_in("wrong horse", "anna").status_code == 403
    assert stranger.sign_in("correct horse", "anna").status_code == 303


@pytest.mark.parametrize("secret", ["", "x", KEY[:-1], "Ω" * 2000])
def test_anything_else_does_not(stranger: Browser, secret: str) -> None:
    answer = stranger.sign_in(secret)
    assert answer.status_code in (400, 403)
    assert COOKIE not in stranger.client.cookies


def test_nobody_tries_for_ever(stranger: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [stranger.sign_in("wrong", "admin").status_code for _ in range(login.WRONG + 1)]
    assert answers == [403] * login.WRONG + [429]
    assert stranger.sign_in(KEY, "admin").status_code == 429
    assert stranger.sign_in("wrong", "somebody else").status_code == 403
    monkeypatch.setattr(login, "WITHIN", 0)
    assert stranger.sign_in(KEY, "admin").status_code == 303


def test_a_key_of_somebody_else_is_not_the_user(stranger: Browser) -> None:
    make_key("anna")
    assert stranger.sign_in(KEY, "anna").status_code == 403


def test_the_form_of_a_stranger_must_be_our_own(stranger: Browser) -> None:
    assert stranger.client.post("/login", data={"secret": KEY}).status_code == 400
    assert stranger.client.post("/login", data={"secret": KEY, FORM_TOKEN: "x"}).status_code == 400


@pytest.mark.parametrize(
    ("wanted", "led"),
    [
        ("/p/1/jobs?state=running", "/p/1/jobs?state=running"),
        ("//evil.example", "/"),
        ("/\\evil", "/"),
        ("http://evil.example", "/"),
    ],
)
def test_it_goes_on_to_a_page_of_ours(stranger: Browser, wanted: str, led: str) -> None:
    assert stranger.sign_in(next=wanted).headers["location"] == led


def test_who_asks_for_a_page_comes_back_to_it(stranger: Browser) -> None:
    answer = stranger.get("/p/1/jobs?state=running")
    assert answer.headers["location"] == "/login?next=%2Fp%2F1%2Fjobs%3Fstate%3Drunning"


def test_a_form_that_came_too_late_leads_back_to_its_page(browser: Browser) -> None:
    browser.client.cookies.clear()
    page = {"referer": f"{browser.client.base_url}/p/1/run?spider=quotes"}
    sent = browser.client.post("/p/1/run", data={"spider": "quotes"}, headers=page, follow_redirects=False)
    assert sent.headers["location"] == "/login?next=%2Fp%2F1%2Frun%3Fspider%3Dquotes&ended=1"
    assert "signed out before your form was sent" in browser.get(sent.headers["location"]).text
    page = {"referer": "http://evil.example/x"}
    sent = browser.client.post("/p/1/run", data={}, headers=page, follow_redirects=False)
    assert sent.headers["location"] == "/login?next=%2F&ended=1"


def test_signing_out_ends_it(browser: Browser) -> None:
    token = browser.client.cookies[COOKIE]
    assert browser.post("/logout").headers["location"] == "/login"
    browser.client.cookies.set(COOKIE, token)
    assert browser.get("/").headers["location"] == "/login"


def test_a_login_ends_in_time_and_with_the_key(browser: Browser) -> None:
    with db.transaction() as session:
        session.query(Login).update({"expires_time": 1})
    assert browser.get("/").status_code == 303
    assert browser.sign_in().status_code == 303
    with db.transaction() as session:
        apikeys.revoke(session, "admin", "somebody")
    assert browser.get("/").status_code == 303


def test_a_stranger_sees_and_changes_nothing(stranger: Browser) -> None:
    make_job()
    before = everything()
    assert len(pages()) > 10
    for method, path in pages():
        answer = stranger.client.request(method, path, follow_redirects=False)
        assert (answer.status_code, answer.headers.get("location", "")[:6]) == (303, "/login"), (method, path)
    assert everything() == before


def test_no_form_but_ours_changes_anything(browser: Browser) -> None:
    make_job()
    before = everything()
    for method, path in pages():
        if method != "GET":
            for data in ({}, {FORM_TOKEN: "0" * 64}):
                answer = browser.client.request(method, path, data=data, follow_redirects=False)
                assert answer.status_code in (400, 404), (method, path, answer.status_code)
    assert everything() == before


def test_nothing_from_elsewhere_and_nothing_inline(browser: Browser) -> None:
    page = browser.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r'(src|href)="https?:', page.text)
    assert not re.search(r"<script(?![^>]*(src=|application/json))|\sstyle=|\son\w+=", page.text)


def test_the_files_of_the_pages_are_kept_by_browsers(stranger: Browser) -> None:
    for address in re.findall(r'(?:src|href)="(/static[^"]+)"', stranger.get("/login").text):
        answer = stranger.get(address)
        assert (answer.status_code, "immutable" in answer.headers["cache-control"]) == (200, True), address


def test_the_browser_reads_the_api_but_changes_nothing_there(browser: Browser) -> None:
    assert browser.get("/api/jobs/list.json?project=1").json()["status"] == "ok"
    job = finished_job()
    assert browser.get(f"/items/{job}?format=json").status_code == 200
    before = everything()
    answer = browser.client.post("/api/schedule.json", data={"project": 1, "spider": "quotes"})
    assert answer.status_code == 403
    assert browser.client.post(f"/items/{job}", content=b"{}").status_code == 401
    assert browser.get("/ids/1/spider/new?create=1").status_code == 401
    assert everything() == before


def test_a_page_that_is_not_there(browser: Browser) -> None:
    for path in ("/p/1/nothing", "/p/x/jobs", "/p/999999999999/jobs"):
        answer = browser.get(path)
        assert (answer.status_code, "There is no such page." in answer.text) == (404, True), path


def test_addresses_that_clients_print_lead_to_a_page(browser: Browser) -> None:
    for printed, page in (
        ("/p/1", "/p/1/jobs"),
        ("/p/1/", "/p/1/jobs"),
        ("/p/1/deploy/", "/p/1/deploys"),
        ("/p/1/jobs/?state=running", "/p/1/jobs?state=running"),
    ):
        answer = browser.get(printed)
        assert (answer.headers["location"], browser.get(page).status_code) == (page, 200), printed


def test_only_the_page_that_deploys_takes_files(browser: Browser, stranger: Browser) -> None:
    answer = browser.client.post("/p/1/run", files={"spider": b"x" * 1000})
    assert (answer.status_code, "takes no files" in answer.text) == (400, True)


def test_signing_in_again_ends_the_login_before(browser: Browser) -> None:
    before = browser.client.cookies[COOKIE]
    browser.post("/logout")
    browser.sign_in()
    middle = browser.client.cookies[COOKIE]
    browser.client.cookies.set(STRANGER, "t", path="/login")
    browser.client.post("/login", data={"secret": KEY, FORM_TOKEN: "t"})
    assert browser.client.cookies[COOKIE] not in (before, middle)
    with db.reading() as session:
        assert session.query(Login).count() == 1


def test_nothing_is_taken_for_what_it_is_not(browser: Browser) -> None:
    for path in ("/", "/api/jobs/list.json?project=1", "/items/1/1/1", "/health/live", "/nothing"):
        assert browser.get(path).headers["x-content-type-options"] == "nosniff", path


def test_what_was_done_is_told_by_the_page_it_is_for(browser: Browser) -> None:
    browser.post("/", name="seven", id="7")
    part = browser.client.get("/p/1/jobs", headers={"HX-Request": "true"})
    assert "was created" not in part.text
    assert "was created" in browser.get("/p/7/jobs").text
    assert "was created" not in browser.get("/p/7/jobs").text


def test_a_project_of_others_looks_like_none(guest: Browser) -> None:
    from tests.factories import make_project

    make_project(2)
    answers = [guest.get(f"/p/{number}/jobs") for number in (2, 3)]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert [
        f"access to project {number}" in answer.text for number, answer in zip((2, 3), answers, strict=True)
    ] == [True, True]
