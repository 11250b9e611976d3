"""Collections: the list, records by key, one record, deleting."""

import re
from html import unescape

import pytest

from app import db
from app.services import collections
from app.services.collections import Address
from tests.factories import everything, make_project
from tests.ui.conftest import Browser


def put(name: str, *keys: str, kind: str = "s", project: int = 1, value: bytes = b'{"n":1}') -> None:
    with db.transaction() as session:
        collections.put(session, Address(project, kind, name), [[(key.encode(), value) for key in keys]])


def names() -> list[tuple[str, str]]:
    with db.reading() as session:
        return collections.listing(session, 1)


def test_the_list_counts_records_and_says_where_it_stopped(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No collection yet" in browser.get("/p/1/collections").text
    monkeypatch.setattr("app.ui.collections.COUNTED", 2)
    put("few", "a", "b")
    put("many", "a", "b", "c", kind="vcs")
    page = browser.get("/p/1/collections").text
    assert ("/p/1/collections/s/few" in page, "/p/1/collections/vcs/many" in page) == (True, True)
    assert page.count("more than 2") == 1


def test_the_list_never_looks_at_many_records(browser: Browser) -> None:
    put("large", *map(str, range(101)))
    for n in range(51):
        put(f"small{n:02}", "a")
    page = browser.get("/p/1/collections").text
    assert ("more than 100" in page, page.count("data-row"), "More collections" in page) == (True, 50, True)


def test_pages_of_the_list_lose_no_type_of_a_name(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.ui.collections.COLLECTIONS", 1)
    for name, kind in (("a", "s"), ("b", "s"), ("b", "vcs"), ("b", "cs"), ("c", "s")):
        put(name, "k", kind=kind)
    seen, address = [], "/p/1/collections"
    for _ in range(5):
        page = unescape(browser.get(address).text)
        seen += re.findall(r'class="lead"><a href="/p/1/collections/(\w+/\w+)"', page)
        address = "/p/1/collections" + next(iter(re.findall(r'collections(\?after=[^"]+)"', page)), "")
    assert seen == ["s/a", "cs/b", "s/b", "vcs/b", "s/c"]
    assert "More collections" not in page
    assert browser.get("/p/1/collections", after="a\0").status_code == 400


def test_records_come_by_key_in_pages(browser: Browser) -> None:
    put("books", *(f"k{n:02}" for n in range(60)))
    first = browser.get("/p/1/collections/s/books").text
    assert ("k49" in first, "k50" in first, "?after=k49" in first, "60 records" in first) == (
        True, False, True, True,
    )  # fmt: skip
    assert ">k59<" in browser.get("/p/1/collections/s/books", after="k49").text


def test_a_prefix_narrows(browser: Browser) -> None:
    put("books", "a1", "a2", "b1")
    page = browser.get("/p/1/collections/s/books", prefix="a").text
    assert (">a2<" in page, ">b1<" in page, "2 records with this prefix" in page) == (True, False, True)
    assert "No key begins with" in browser.get("/p/1/collections/s/books", prefix="z").text


@pytest.mark.parametrize("key", ["a/b?c&d=é", "", " ", "<i>"])
def test_one_record_as_json(browser: Browser, key: str) -> None:
    put("books", key, value=b'{"title":"<b>","n":[1]}')
    page = browser.get("/p/1/collections/s/books", record=key)
    assert page.status_code == 200
    assert '"title": "&lt;b&gt;"' in page.text.replace("&#34;", '"')


def test_a_record_is_deleted_when_it_was_confirmed(browser: Browser) -> None:
    put("books", "a/1", "b")
    asked = browser.post("/p/1/collections/s/books/delete", record="a/1")
    assert (asked.status_code, "Delete one record?" in asked.text) == (200, True)
    done = browser.post("/p/1/collections/s/books/delete", record="a/1", confirmed="1")
    page = browser.follow(done)
    assert ("was deleted" in page, "1 record<" in page) == (True, True)
    again = browser.post("/p/1/collections/s/books/delete", record="a/1", confirmed="1")
    assert again.status_code == 404


def test_a_collection_is_deleted_with_all_of_its_name(browser: Browser) -> None:
    put("books", "a", "b")
    put("books", "a", kind="cs")
    put("other", "a")
    asked = browser.post("/p/1/collections/s/books/delete").text
    assert "of the types s, cs" in asked
    assert "Collection books was deleted" in browser.follow(
        browser.post("/p/1/collections/s/books/delete", confirmed="1")
    )
    assert names() == [("s", "other")]


@pytest.mark.parametrize("path", ["s/none", "x/books", "s/books?record=none", "cs/books"])
def test_what_is_not_there(browser: Browser, path: str) -> None:
    put("books", "a")
    put("theirs", "a", project=make_project(2))
    before = everything()
    assert browser.get(f"/p/1/collections/{path}").status_code == 404
    assert browser.get("/p/1/collections/s/theirs").status_code == 404
    assert browser.post("/p/1/collections/s/theirs/delete", confirmed="1").status_code == 404
    assert everything() == before


def test_others_are_kept_out(guest: Browser) -> None:
    put("books", "a", project=make_project(2))
    assert guest.get("/p/2/collections").status_code == 403
    assert guest.post("/p/2/collections/s/books/delete", confirmed="1").status_code == 403
