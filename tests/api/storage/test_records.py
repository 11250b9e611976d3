"""items, logs, requests, samples: reading (contract 5.4-5.10, 6.16-6.19)."""

import csv
import gzip
import io
import xml.etree.ElementTree as ET
import zlib
from typing import Any

import orjson
import ormsgpack
import pytest
from starlette.testclient import TestClient

from app.keys import JobKey
from app.models import Kind
from app.services.jobs import Claimed
from tests.factories import (
    append,
    batch,
    change,
    finish,
    finished_job,
    job_with_items,
    log_entry,
    make_key,
    make_project,
    running_job,
)

KINDS = list(Kind)


def get(client: TestClient, path: str, accept: str = "*/*", **params: Any) -> Any:
    answer = client.get(path, params=params, headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def lines(client: TestClient, path: str, **params: Any) -> list[Any]:
    text = get(client, path, **params).text
    assert not text or text.endswith("\n")
    return [orjson.loads(line) for line in text.splitlines()]


def numbers(client: TestClient, path: str, **params: Any) -> list[int]:
    return [each["n"] for each in lines(client, path, **params)]


def ten(**fields: Any) -> Claimed:
    return job_with_items(({"n": n} for n in range(10)), **fields)


def post(client: TestClient, path: str, *values: Any, **params: Any) -> None:
    body = b"".join(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE) for value in values)
    assert client.post(path, content=body, params=params).status_code == 200


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({}, range(10)), ({"count": 3}, range(3)), ({"count": 0}, ()), ({"count": 99}, range(10)),
        ({"start": "K/4"}, range(4, 10)), ({"startafter": "K/4"}, range(5, 10)), ({"start": "K/10"}, ()),
        ({"start": "K/3", "count": 2}, (3, 4)), ({"startafter": "K/9"}, ()), ({"start": "K"}, range(10)),
        ({"index": ["7", "2", "2", "99"]}, (2, 7)), ({"start": "1/1/9999/0"}, ()), ({"start": "1/0001/1/3"}, range(3, 10)),
        ({"start": "K/10", "index": "1"}, [1]), ({"start": "K/2", "startafter": "K/5"}, range(6, 10)),
    ],
    ids=str,
)  # fmt: skip
def test_pages(client: TestClient, params: dict[str, Any], wanted: Any) -> None:
    job = ten()
    params = {
        name: value.replace("K", str(job.key)) if isinstance(value, str) else value
        for name, value in params.items()
    }
    assert numbers(client, f"/items/{job.key}", **params) == list(wanted)


def test_a_spider_and_a_project_are_read_in_the_order_of_keys(client: TestClient) -> None:
    make_project(2, ["a", "b"])
    keys: list[JobKey] = []
    for place, spider in enumerate(["b", "a", "b", "a"]):
        key = finished_job(spider=spider, project=2)
        post(client, f"/items/{key}", {"n": 10 * place}, {"n": 10 * place + 1})
        keys.append(key)
    assert numbers(client, "/items/2") == [10, 11, 30, 31, 0, 1, 20, 21]  # a has number 1
    assert numbers(client, "/items/2/2/") == [0, 1, 20, 21]
    assert numbers(client, "/items/2", start=f"{keys[3]}/1", count=2) == [31, 0]
    assert numbers(client, "/items/2", startafter=f"{keys[2]}/0") == [21]
    change(keys[2], state="deleted")
    assert numbers(client, "/items/2/2") == [0, 1]
    assert numbers(client, f"/items/{keys[2]}") == [20, 21]  # until it is purged
    assert lines(client, "/items/2/99") == []


def test_many_jobs_are_read_in_pages(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.keyorder.BATCH", 2)
    for n in range(5):
        post(client, f"/samples/{finished_job()}", [n])
    assert lines(client, "/samples/1") == [[0], [1], [2], [3], [4]]
    assert lines(client, "/samples/1/1", count=3) == [[0], [1], [2]]


def test_meta_fields(client: TestClient) -> None:
    job = ten()
    path = f"/items/{job.key}"
    assert lines(client, path, meta=["_key", "_ts"], count=1, start=f"{job.key}/2") == [
        {"n": 2, "_key": f"{job.key}/2", "_ts": 1_000_002}
    ]
    assert lines(client, path, meta="_key", nodata=1, index=3) == [{"_key": f"{job.key}/3"}]
    assert lines(client, path, nodata=1, count=1) == [{}]
    assert lines(client, path, meta="_other", count=1) == [{"n": 0}]


def test_one_record_and_its_fields(client: TestClient) -> None:
    job = job_with_items([{"n": n, "text": f"zeile ä {n}", "more": [n, None]} for n in range(3)])
    path = f"/items/{job.key}"
    assert numbers(client, f"{path}/1") == [1]
    assert get(client, f"{path}/1", "application/json").json() == [
        {"n": 1, "text": "zeile ä 1", "more": [1, None]}
    ]
    assert get(client, f"{path}/text").text == "zeile ä 0\nzeile ä 1\nzeile ä 2\n"
    assert get(client, f"{path}/2/more").text == "[2,null]\n"
    assert get(client, f"{path}/none").text == get(client, f"{path}/7").text == ""


FILTERS = [
    ('["n","=",[3]]', [3]), ('["n",">=",[8]]', [8, 9]), ('["n","<",["2"]]', [0, 1]), ('["n","!=",[0]]', list(range(1, 10))),
    ('["n","exists",[]]', list(range(10))), ('["x","notexists",[]]', list(range(10))), ('["s","contains",["N3"]]', []),
    ('["s","icontains",["N3"]]', [3]), ('["s","matches",["^n[45]$"]]', [4, 5]), ('["l","haselement",[3,4,99]]', [3, 4]),
    ('["l","hasnotelement",[3]]', [n for n in range(10) if n != 3]), ('["e","isempty",[]]', list(range(10))),
    ('["n","isnotempty",[]]', []), ('["s","=",["n3"]]', [3]), ('["n","=",["3"]]', [3]), ('["s",">",[5]]', []),
    ('["x","<",[5]]', []), ('["l",">",[5]]', []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), FILTERS)
def test_filters(client: TestClient, text: str, wanted: list[int]) -> None:
    job = job_with_items({"n": n, "s": f"n{n}", "l": [n, "x"], "e": ""} for n in range(10))
    assert numbers(client, f"/items/{job.key}", filter=text) == wanted


def test_filters_add_up_and_are_counted_after(client: TestClient) -> None:
    path = f"/items/{ten().key}"
    both = ['["n",">",[2]]', '["n","<",[6]]']
    assert numbers(client, path, filter=both) == [3, 4, 5]
    assert numbers(client, path, filter=both, count=2) == [3, 4]
    assert numbers(
        client, path, filter=both, meta="_key", startafter=path.removeprefix("/items/") + "/3"
    ) == [4, 5]


def test_filters_of_elements(client: TestClient) -> None:
    job = job_with_items([{"n": 0, "l": [1, 2]}, {"n": 1, "l": [5, 1]}, {"n": 2, "l": 5}, {"n": 3, "l": [6]}])
    path = f"/items/{job.key}"
    assert numbers(client, path, filterany='["l",">=",[5]]') == [1, 3]
    assert numbers(client, path, filterall='["l",">=",[5]]') == [3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        '["n"]',
        '["n","=",[]]',
        '["n","like",[1]]',
        '[1,"=",[1]]',
        '["n","matches",["("]]',
        "{}",
        "1",
    ],
)
def test_bad_filters_are_named(client: TestClient, text: str) -> None:
    answer = client.get(f"/items/{ten().key}", params={"filter": text})
    assert (answer.status_code, answer.text) == (400, f"invalid value for filter: {text}\n")


def test_times(client: TestClient) -> None:
    path = f"/items/{ten(chunk=4).key}"  # received at 1_000_000 … 3, 0 … 3, 0, 1
    assert numbers(client, path, startts=1_000_002) == [2, 3, 6, 7]
    assert numbers(client, path, endts=1_000_001) == [0, 4, 8]
    assert numbers(client, path, startts=1_000_001, endts=1_000_002, count=2) == [1, 5]


def test_formats_by_parameter_and_by_header(client: TestClient) -> None:
    job = job_with_items([{"n": 1, "t": "ä,\"'\n"}, {"n": 2.5, "t": None, "o": {"a": [True]}}])
    path = f"/items/{job.key}"
    items = lines(client, path)
    for accept, name in (("application/json", "json"), ("text/html, application/json;q=0.5", "json")):
        for answer in (get(client, path, accept), get(client, path, format=name)):
            assert answer.json() == items
            assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    packed = get(client, path, "application/x-msgpack")
    assert packed.headers["content-type"].startswith("application/x-msgpack")
    assert packed.content == b"".join(map(ormsgpack.packb, items))
    assert get(client, path, "text/plain, */*").headers["content-type"] == "text/plain; charset=UTF-8"
    for accept in ("application/pdf", "", "*/*, application/json;q=0.1", "nonsense;;q=x"):
        assert get(client, path, accept).headers["content-type"].startswith("application/x-jsonlines")


def test_csv(client: TestClient) -> None:
    job = job_with_items([{"a": "x,y", "b": 1, "c": [1]}, {"b": 'q"q'}])
    path = f"/items/{job.key}"
    rows = list(
        csv.reader(io.StringIO(get(client, path, format="csv", fields="b,a,c", include_headers="Y").text))
    )
    assert rows == [["b", "a", "c"], ["1", "x,y", "[1]"], ['q"q', "", ""]]
    other = get(client, path, "text/csv", fields="a,b", sep=";", quote="'", lineend="|", escape="\\").text
    assert other == 'x,y;1|;q"q|'
    assert client.get(path, params={"format": "csv"}).text == "missing 'fields' argument\n"
    for name in ("sep", "quote", "escape"):
        bad = client.get(path, params={"format": "csv", "fields": "a", name: "ab"})
        assert (bad.status_code, bad.text) == (400, f"invalid value for {name}: not one character\n")


def test_xml_is_well_formed_whatever_the_items_say(client: TestClient) -> None:
    value = {"a<": "&\x00\x0b ]]>", "n": [None, True, 1, 2.5, {}], "u": "é\U0001f600"}
    text = get(client, f"/items/{job_with_items([value, {}]).key}", format="xml").text
    first, second = ET.fromstring(text)
    assert [name.text for name in first.iter("name")] == ["a<", "n", "u"]
    assert [kind.tag for kind in first.find("struct/member[2]/value/array/data").iterfind("value/*")] == [  # type: ignore[union-attr]
        "nil", "boolean", "int", "double", "struct",
    ]  # fmt: skip
    assert list(second.find("struct") or ()) == []


def test_logs(client: TestClient) -> None:
    job = running_job()
    append(job, batch(Kind.LOGS, [log_entry("a"), log_entry("b\nc", 40), log_entry("d", 45)]))
    path = f"/logs/{job.key}"
    assert lines(client, path, meta="_key")[1] == {**log_entry("b\nc", 40), "_key": f"{job.key}/1"}
    assert [each["message"] for each in lines(client, path, filter='["level", ">=", [40]]')] == ["b\nc", "d"]
    assert get(client, path, format="text").text.splitlines()[0] == "2023-11-14 22:13:20 INFO a"
    assert get(client, path, format="csv").text.splitlines()[0] == "1700000000000,20,a"
    assert lines(client, f"{path}/0") == [log_entry("a")]
    stats = {"counts": {"20": 1, "40": 1, "45": 1}, "totals": {"input_bytes": 8, "input_values": 3}}
    assert get(client, f"{path}/stats", "application/x-msgpack").json() == stats


def test_requests_are_never_msgpack(client: TestClient) -> None:
    key = finished_job()
    one = {
        "time": 1,
        "url": "u",
        "method": "GET",
        "status": 200,
        "rs": 5,
        "duration": 7,
        "parent": None,
        "fp": None,
    }
    post(client, f"/requests/{key}", one, start=0)
    kept = {name: value for name, value in one.items() if value is not None}
    answer = get(client, f"/requests/{key}", "application/x-msgpack", meta="_key")
    assert answer.json() == {**kept, "_key": f"{key}/0"}
    counts = get(client, f"/requests/{key}/stats").json()["counts"]
    assert counts == {"url": 1, "method": 1, "status": 1, "rs": 1, "duration": 1}


def test_samples_are_arrays(client: TestClient) -> None:
    key = finished_job()
    post(client, f"/samples/{key}", [1476803148638, 1, 2, 3], [1, 2, 3], start=0)
    assert lines(client, f"/samples/{key}", meta="_key") == [[1476803148638, 1, 2, 3], [1, 2, 3]]
    assert get(client, f"/samples/{key}", "application/x-msgpack").content.startswith(b"\x94")
    assert lines(client, "/samples/1/1", count=1) == [[1476803148638, 1, 2, 3]]


def test_a_random_sample(client: TestClient) -> None:
    path = f"/items/{job_with_items(({'n': n} for n in range(50)), chunk=50).key}"
    found = numbers(client, path, start="random")
    assert len(set(found)) == 20 and found != list(range(20))
    assert len(numbers(client, path, start="random", count=3)) == 3


def test_answers_are_compressed_for_those_who_can_read_it(client: TestClient) -> None:
    path = f"/items/{ten().key}"
    with client.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
    plain = get(client, path).content
    assert gzip.decompress(raw) == plain
    with client.stream("GET", path, params={"count": 0}, headers={"accept-encoding": "gzip"}) as answer:
        assert gzip.decompress(b"".join(answer.iter_raw())) == b""
    with client.stream("GET", path, headers={"accept-encoding": "identity"}) as answer:
        assert b"".join(answer.iter_raw()) == plain and "content-encoding" not in answer.headers


def test_every_block_reaches_a_reader_at_once(client: TestClient) -> None:
    """Of a compressed answer too: what has come can be unpacked without the rest."""
    from app.api.storage.wire import _compressed

    def parts() -> Any:
        yield b"first\n"
        yield b"second\n"

    answer = _compressed(parts())
    assert zlib.decompressobj(31).decompress(next(answer)) == b"first\n"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_there_is_an_empty_answer(client: TestClient, kind: str) -> None:
    for key in (finished_job(), "1/1/99", "1/9/1"):
        for accept, body in (("*/*", b""), ("application/json", b"[]")):
            assert get(client, f"/{kind}/{key}", accept).content == body
        stats = get(client, f"/{kind}/{key}/stats").json()
        assert stats == {"counts": {}, "totals": {"input_bytes": 0, "input_values": 0}}


@pytest.mark.parametrize("kind", KINDS)
def test_who_may_read(client: TestClient, kind: str) -> None:
    job, other, guest = running_job(), running_job(), make_key()
    make_project(2)
    paths = [
        f"/{kind}/1",
        f"/{kind}/1/1",
        f"/{kind}/{job.key}",
        f"/{kind}/{job.key}/stats",
        f"/{kind}/{job.key}/0",
    ]
    for path in paths:
        for nobody in (
            None,
            ("", ""),
            ("x" * 32, ""),
            (str(job.key), "0" * 32),
            (str(job.key), ""),
            (str(job.key), "\0"),
        ):
            client.auth = nobody
            answer = client.get(path)
            assert (answer.status_code, answer.text) == (401, "Unauthorized\n")
        client.auth = (guest, "")
        assert client.get(path).status_code == 403
        client.auth = (str(job.key), job.token)
        assert client.get(path).status_code == (200 if str(job.key) in path else 403)
        client.auth = (str(other.key), other.token)
        assert client.get(path).status_code == 403
    finish(job)
    client.auth = (str(job.key), job.token)
    assert client.get(paths[2]).status_code == 401
    member = make_key("member", projects=[1])
    client.auth = None
    assert get(client, paths[0], apikey=member).status_code == 200
    assert client.get(f"/{kind}/2", params={"apikey": member}).status_code == 403


BAD = [
    ({"start": "x"}, "start"), ({"start": "-1"}, "start"), ({"start": "2/1/1/0"}, "start"), ({"start": "1/1/1/-1"}, "start"),
    ({"startafter": "1/1"}, "startafter"), ({"count": "-1"}, "count"), ({"count": "x"}, "count"), ({"format": "pdf"}, "format"),
    ({"startts": "x"}, "startts"), ({"endts": "-1"}, "endts"), ({"index": "x"}, "index"), ({"index": "9999999999"}, "index"),
    ({"start": "1/1/1/99999999999999999999"}, "start"), ({"saveas": 'a"b'}, "saveas"), ({"saveas": "ä"}, "saveas"),
]  # fmt: skip


@pytest.mark.parametrize(("params", "name"), BAD, ids=str)
def test_bad_parameters_are_named(client: TestClient, params: dict[str, str], name: str) -> None:
    answer = client.get(f"/items/{ten().key}", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=UTF-8")
    assert answer.text.startswith(f"invalid value for {name}: ")


@pytest.mark.parametrize(
    "path", ["x", "0", "-1", "1/x", "1/1/x", "1/0/1", "99999999999", "1/1/1/1/1/1", "%00", "%ff", "1/1/%2F"]
)
def test_bad_paths(client: TestClient, path: str) -> None:
    answer = client.get(f"/items/{path}")
    assert answer.status_code in (400, 404) and answer.text.endswith("\n")
    client.auth = None
    assert client.get(f"/items/{path}").status_code in (401, 404)


def test_saveas(client: TestClient) -> None:
    answer = get(client, f"/items/{ten().key}", saveas="items of today.jl")
    assert answer.headers["content-disposition"] == "Attachment; filename=items of today.jl"


def test_system_ts(client: TestClient) -> None:
    client.auth = None
    first, second = get(client, "/system/ts").json(), get(client, "/system/ts/").json()
    assert 1_700_000_000_000 < first <= second


def test_unknown_paths_and_methods(client: TestClient) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.delete("/items/1").status_code == 405
    assert client.put(f"/items/{finished_job()}").status_code == 405
