"""collections: records under keys (contract 6.20)."""

import csv
import gzip
import io
from typing import Any
from urllib.parse import quote

import ormsgpack
import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from app import db
from app.models import CollectionRecord
from tests.api.storage.collection import PAGES, body, count, get, keys, lines, post, put, refused

TOO_LARGE = "Error parsing data, Serialized value too large - max 1048576 bytes\n"
NO_KEY = "Error parsing data, missing value for _key field\n"


def test_a_record_is_set_read_and_removed(client: TestClient) -> None:
    value = {"field1": "v", "field2": ["a", 1.0, None], "field4": {"v4k": 12345678901234567890}}
    for kind in ("s", "cs", "vs", "vcs"):
        path = f"/collections/1/{kind}/pages"
        post(client, path, {"_key": "k", **value})
        assert get(client, f"{path}/k").json() == value
        assert get(client, f"{path}/k").headers["content-type"] == "application/x-jsonlines; charset=UTF-8"
        assert ormsgpack.unpackb(get(client, f"{path}/k", "application/x-msgpack").content) == value
        assert get(client, f"{path}/k", format="json").json() == value
        post(client, f"{path}/deleted", "k", "unknown")
        refused(client, "GET", f"{path}/k", 404, "Not Found\n")


def test_what_was_never_made_is_empty(client: TestClient) -> None:
    assert get(client).content == b""
    assert get(client, format="json").json() == []
    assert count(client) == {"count": 0, "scanned": 0}
    assert get(client, f"{PAGES}/scan").json() == {"values": []}
    assert client.delete(PAGES).json() == {"deleted": 0, "scanned": 0}
    assert client.get(f"{PAGES}/k").text == "Not Found\n"
    assert lines(client, "/collections/1/list") == []
    post(client, f"{PAGES}/deleted", "k")
    post(client, PAGES)
    assert client.delete(f"{PAGES}/k").status_code == 200
    assert lines(client, "/collections/1/list") == []


def test_records_come_in_the_order_of_their_keys(client: TestClient) -> None:
    put(client, "k2", "k10", "k1", "é", "Z")
    assert lines(client) == [{"of": key} for key in ("Z", "k1", "k10", "k2", "é")]
    assert keys(client) == ["Z", "k1", "k10", "k2", "é"]
    assert [list(each) for each in lines(client, meta=["_ts", "_key"], count=1)] == [["of", "_key", "_ts"]]
    assert lines(client, nodata=1, meta="_key", count=2) == [{"_key": "Z"}, {"_key": "k1"}]
    assert lines(client, nodata="True", count=2) == [{}, {}]


ODD = (
    "a/b",
    "a b",
    "a\nb",
    "a\0b",
    "é",
    "\U0001f600",
    '"',
    "\\",
    "a%2Fb",
    "?",
    "#",
    "a+b",
    "/",
    "\u2028",
    "count",
)


def test_any_character_may_be_in_a_key(client: TestClient) -> None:
    put(client, *ODD)
    assert keys(client) == sorted(ODD)
    for key in ODD[:-1]:
        assert get(client, f"{PAGES}/{quote(key, safe='')}").json() == {"of": key}
        assert (keys(client, start=key)[0], keys(client, prefix=key)[0]) == (key, key)
        assert key not in keys(client, startafter=key)
        post(client, f"{PAGES}/{quote(key, safe='')}", {"new": 1, "_key": "ignored"})
        assert lines(client, key=key, meta="_key") == [{"new": 1, "_key": key}]
    assert client.delete(f"{PAGES}/{quote(ODD[2], safe='')}").status_code == 200
    post(client, f"{PAGES}/deleted", ODD[0], list(ODD[1:]))
    assert keys(client) == []


def test_keys_and_fields_of_unescaped_paths(client: TestClient) -> None:
    post(client, PAGES, {"_key": "a", "b": "text", "d": {"x": [1, "é"]}, "n": None}, {"_key": "a/b", "c": 1})
    assert get(client, f"{PAGES}/a/b").json() == {"c": 1}  # the whole key comes first
    post(client, f"{PAGES}/deleted", "a/b")
    answer = get(client, f"{PAGES}/a/b")
    assert (answer.text, answer.headers["content-type"]) == ("text\n", "text/plain; charset=UTF-8")
    assert get(client, f"{PAGES}/a/d/").text == '{"x":[1,"é"]}\n'
    assert get(client, f"{PAGES}/a/n").text == "null\n"
    for path in ("a/x", "x/b", "a/d/x", "a%2Fb"):
        refused(client, "GET", f"{PAGES}/{path}", 404, "Not Found\n")
    assert client.delete(f"{PAGES}/a/b").status_code == 200
    assert keys(client) == ["a"]
    post(client, f"{PAGES}/a/b/c", {"x": 1})
    assert keys(client) == ["a", "a/b/c"]


def test_reserved_words_are_so_for_their_own_method(client: TestClient) -> None:
    put(client, "count", "deleted", "scan")
    assert (count(client)["count"], get(client, f"{PAGES}/deleted").json()) == (3, {"of": "deleted"})
    assert get(client, f"{PAGES}/%73can").json() == {"of": "scan"}
    for key in ("count", "deleted", "scan"):
        assert client.delete(f"{PAGES}/{key}").status_code == 200
    assert keys(client) == []


def test_selection(client: TestClient) -> None:
    names = ["post1", *(f"post1{n}" for n in range(3)), "post2", "post20", "z"]
    post(client, PAGES, *({"_key": key, "n": n} for n, key in enumerate(names)))
    assert keys(client, prefix="post1") == names[:4]
    assert keys(client, prefix="post1", filter='["n", ">", [1]]') == names[2:4]
    assert keys(client, prefix=["post2", "post1"], prefixcount=1) == ["post1", "post2"]
    assert keys(client, prefix="post", prefixcount=2, filter='["n", ">", [1]]') == names[2:4]
    assert keys(client, key=["z", "post1", "unknown"]) == ["post1", "z"]
    assert keys(client, start="post2", count=2) == ["post2", "post20"]
    assert keys(client, startafter="post2") == ["post20", "z"]
    assert keys(client, count=0) == []
    assert count(client, prefix="post1", filter='["n", ">", [1]]') == {"count": 2, "scanned": 4}


def test_times(client: TestClient) -> None:
    put(client, "a", "b")
    before = lines(client, meta="_ts")[0]["_ts"]
    with db.transaction() as session:
        session.execute(update(CollectionRecord).values(time=before - 10))
    put(client, "b")
    now = lines(client, meta="_ts", key="b")[0]["_ts"]
    assert now >= before
    assert keys(client, startts=now) == ["b"]
    assert keys(client, endts=now) == ["a"]
    assert keys(client, startts=before - 10, endts=before - 9) == ["a"]
    assert count(client, startts=now)["count"] == 1


def test_formats(client: TestClient) -> None:
    post(client, PAGES, {"_key": "a", "n": 1, "é": "x,y"}, {"_key": "b"})
    values = [{"n": 1, "é": "x,y", "_key": "a"}, {"_key": "b"}]
    assert get(client, meta="_key", format="json").json() == values
    assert get(client, accept="application/json", meta="_key").json() == values
    packed = get(client, accept="application/x-msgpack", meta="_key")
    assert packed.content == b"".join(map(ormsgpack.packb, values))
    assert packed.headers["content-type"] == "application/x-msgpack; charset=UTF-8"
    table = get(client, format="csv", fields="_key,é", include_headers=1, meta="_key").text
    assert list(csv.reader(io.StringIO(table))) == [["_key", "é"], ["a", "x,y"], ["b", ""]]
    assert "<name>_key</name><value><string>b</string>" in get(client, format="xml", meta="_key").text
    text = get(client, format="text", meta="_key")
    assert text.content == get(client, meta="_key").content
    assert text.headers["content-type"] == "text/plain; charset=UTF-8"
    refused(client, "GET", PAGES, 400, "missing 'fields' argument", params={"format": "csv"})


def test_a_scan_in_parts(client: TestClient) -> None:
    put(client, *"abcde")
    first = get(client, f"{PAGES}/scan", maxscan=2, meta="_key", nodata=1).json()
    assert first == {"values": [{"_key": "a"}, {"_key": "b"}], "nextstart": "c"}
    rest = get(client, f"{PAGES}/scan", "application/x-msgpack", start="c").json()
    assert rest == {"values": [{"of": key} for key in "cde"]}
    nothing = get(client, f"{PAGES}/scan", maxscan=2, filter='["of", "=", ["e"]]').json()
    assert nothing == {"values": [], "nextstart": "c"}


def test_a_count_in_parts(client: TestClient) -> None:
    put(client, *"abcde")
    for more in ({}, {"filter": '["of", "exists", []]'}):
        assert count(client, **more) == {"count": 5, "scanned": 5}
        assert count(client, maxscan=2, **more) == {"count": 2, "scanned": 2, "nextstart": "c"}
        assert count(client, maxscan=2, start="d", **more) == {"count": 2, "scanned": 2}


def test_records_are_removed_in_parts(client: TestClient) -> None:
    put(client, *"abcde")
    wanted = {"filter": '["of", "!=", ["b"]]', "maxscan": 3}
    assert client.delete(PAGES, params=wanted).json() == {"deleted": 2, "scanned": 3, "nextstart": "d"}
    assert client.delete(PAGES, params={**wanted, "start": "d"}).json() == {"deleted": 2, "scanned": 2}
    assert keys(client) == ["b"]
    put(client, "b1", "c")
    assert client.delete(PAGES, params={"prefix": "b"}).json() == {"deleted": 2, "scanned": 2}
    assert client.delete(f"{PAGES}/").status_code == 400  # an empty key is not the whole collection
    assert client.delete(PAGES).json() == {"deleted": 1, "scanned": 1}


def test_what_the_python_client_sends(client: TestClient) -> None:
    """A batch: a start, which is meaningless here, a newline at the end, gzip or identity by name."""
    content = body({"_key": "a"}, {"_key": "b"}) + b"\n"
    for encoding, sent in (("gzip", gzip.compress(content)), ("identity", content)):
        headers = {"Content-Encoding": encoding}
        answer = client.post(PAGES, params={"start": 1000}, content=sent, headers=headers)
        assert (answer.status_code, answer.content) == (200, b"")
    assert keys(client) == ["a", "b"]
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # curl -d
    assert client.post(PAGES, content=body({"_key": "c"}), headers=headers).status_code == 200
    answer = client.get(PAGES, params={"meta": "_key"}, headers={"Accept-Encoding": "gzip, deflate"})
    assert (answer.headers["content-encoding"], len(answer.text.splitlines())) == ("gzip", 3)


@pytest.mark.parametrize(
    ("sent", "status", "text"),
    [
        (body({"foo": 42}), 400, NO_KEY), (body({"_key": []}), 400, NO_KEY), (body({"_key": ""}), 400, NO_KEY),
        (body({"_key": None}), 400, NO_KEY), (body([1]), 400, "line 2 is not a JSON object\n"),
        (body({"_key": "x" * 1025}), 400, "a _key has 1 to 1024 bytes: xxx"),
        (body({"_key": "é" * 513}), 400, "a _key has 1 to 1024 bytes"),
        (b'{"_key": "b"', 400, 'Error parsing data, invalid JSON in line 2: {"_key": "b"'),
        (body({"_key": "b", "value": "x" * (1 << 20)}), 413, TOO_LARGE),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_body_is_stored_whole_or_not(client: TestClient, sent: bytes, status: int, text: str) -> None:
    put(client, "old")
    good = body({"_key": "a"})
    refused(client, "POST", PAGES, status, text, content=b"\n".join((good, sent, good)))


def test_largest_keys_and_values(client: TestClient) -> None:
    key, value = "é" * 512, "x" * ((1 << 20) - 2000)
    post(client, PAGES, {"_key": key, "value": value})
    post(client, f"{PAGES}/k", {"v": "x" * ((1 << 20) - 8)})
    assert len(get(client, f"{PAGES}/k").content) == (1 << 20) + 1
    refused(client, "POST", f"{PAGES}/k", 413, TOO_LARGE, content=body({"v": "x" * ((1 << 20) - 7)}))
    assert get(client, f"{PAGES}/{quote(key)}").json() == {"value": value}
    assert keys(client, startafter=key) == []
    refused(client, "POST", f"{PAGES}/{'x' * 1025}", 400, "a _key has 1 to 1024 bytes", content=b"{}")
    assert client.get(f"{PAGES}/{'x' * 1025}").status_code == 404


def test_a_large_body_is_stored_at_once(client: TestClient) -> None:
    post(client, PAGES, *({"_key": f"{n % 3000:05}", "n": n} for n in range(7000)))
    assert count(client)["count"] == 3000
    assert [each["n"] for each in lines(client, count=2500)] == [*range(6000, 7000), *range(4000, 5500)]


@pytest.mark.parametrize(
    ("path", "content", "text"),
    [
        ("/deleted", b'"a"\n1', "line 2 is not a key"), ("/deleted", b'["a", null]', "line 1 is not a key"),
        ("/deleted", b'"a"\n"b', "invalid JSON in line 2"), ("/k", b"[1]", "not a JSON object"),
        ("/k", b"", "not a JSON object"), ("/k", b"{", "invalid JSON"),
    ],
)  # fmt: skip
def test_bad_bodies_change_nothing(client: TestClient, path: str, content: bytes, text: str) -> None:
    put(client, "a", "k")
    refused(client, "POST", f"{PAGES}{path}", 400, text, content=content)


def test_a_bad_key_at_the_end_of_many_changes_nothing(client: TestClient) -> None:
    put(client, "a")
    sent = body("a", *map(str, range(2000)), 7)
    refused(client, "POST", f"{PAGES}/deleted", 400, "line 2002 is not a key", content=sent)


@pytest.mark.parametrize(
    "params",
    [
        {"count": "x"}, {"count": -1}, {"maxscan": 0}, {"startts": "x"}, {"filter": "x"}, {"format": "x"},
        {"prefixcount": -1}, {"start": "x" * 1025},
    ],
    ids=str,
)  # fmt: skip
def test_bad_parameters_name_themselves(client: TestClient, params: dict[str, Any]) -> None:
    put(client, "a")
    path = f"{PAGES}/count" if "maxscan" in params else PAGES
    refused(client, "GET", path, 400, f"invalid value for {next(iter(params))}", params=params)
    if "count" not in params and "format" not in params:
        refused(client, "DELETE", PAGES, 400, f"invalid value for {next(iter(params))}", params=params)
