"""Bad input, derived from the OpenAPI document: for each parameter of an endpoint, what it cannot be."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from app.api.dash.face import create_face
from tests.factories import zipped

ALL_CALLS: dict[str, Any] = create_face().openapi()["paths"]
# Those whose parameters are in the path, or whose errors have another form, have tests of their own.
CALLS = {path: calls for path, calls in ALL_CALLS.items() if "{" not in path and not path.startswith("/v2/")}
JOB = {"project": "1", "job": "1/1/1"}
GOOD: dict[str, dict[str, str]] = {
    "/schedule.json": {"project": "1", "spider": "quotes"},
    "/run.json": {"project": "1", "spider": "quotes"},
    "/jobs/list.json": {"project": "1"},
    "/jobs/list.jl": {"project": "1"},
    "/jobs/count.json": {"project": "1"},
    "/jobs/update.json": {**JOB, "add_tag": "x"},
    "/jobs/stop.json": JOB,
    "/jobs/delete.json": JOB,
    "/spiders/list.json": {"project": "1"},
    "/scrapyd/listprojects.json": {},
    "/scrapyd/listversions.json": {"project": "1"},
    "/scrapyd/delversion.json": {"project": "1", "version": "1"},
    "/scrapyd/addversion.json": {"project": "1", "version": "1"},
    "/eggs/add.json": {"project": "1", "name": "lib", "version": "1"},
    "/eggs/delete.json": {"project": "1", "name": "__main__", "version": "1"},
    "/eggs/list.json": {"project": "1"},
    "/eggs/bundle.zip": {"project": "1"},
    "/migrate-eggs.zip": {"project": "1"},
    **{f"/items.{kind}": JOB for kind in ("json", "jl", "xml")},
    "/items.csv": {**JOB, "fields": "a", "include_headers": "1"},
    **{f"/log.{kind}": JOB for kind in ("json", "jl", "txt")},
    "/events.sse": {"project": "1", "timeout": "0"},
    "/log.sse": {**JOB, "timeout": "0"},
    "/reports/add.json": {**JOB, "key": "k", "content": "text"},
    "/reports/list.json": JOB,
    "/settings/get.json": {"project": "1"},
}
UPLOADS = ("/eggs/add.json", "/scrapyd/addversion.json")
NO_NUMBER = [
    "x",
    "1.5",
    "1e3",
    " 1",
    "1 ",
    "+1",
    "--1",
    "²",
    "٣",
    "0x1",
    "99999999999999999999",
    "2147483648",
]
# Ten digits that the columns cannot hold, behind zeros that a careless check would stop at.
NO_NUMBER.append("0" * 20 + "99999999999")
OUT_OF_RANGE = {
    "priority": ["-1", "5"],
    "units": ["0", "7"],
    "offset": ["-1"],
    "timeout": ["-1", "86401"],
    "project": ["0", "-1"],
    "jobq_id": ["0"],
}
NO_JOB = ["1", "1/1", "1/1/1/1", "a/b/c", "1/1/0", "1/1/-1", "1/1/99999999999", "2/1/1", "1//1", "x" * 5000]
NO_OBJECT = [
    "x",
    "[]",
    "{",
    '{"a": "\\u0000"}',
    '{"a":' * 300 + "1" + "}" * 300,
]

Case = tuple[str, dict[str, Any], tuple[int, ...], str]


def _params(call: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool]]:
    """Name, schema, and whether it is required, of each parameter of an operation."""
    if "parameters" in call:
        return [(each["name"], each["schema"], each["required"]) for each in call["parameters"]]
    schema = next(iter(call["requestBody"]["content"].values()))["schema"]
    return [(name, each, name in schema["required"]) for name, each in schema["properties"].items()]


def _wrong_values(name: str, schema: dict[str, Any]) -> Iterator[str]:
    repeat = schema["type"] == "array"
    inner = schema["items"] if repeat else schema
    if inner["type"] == "integer":
        yield from (*NO_NUMBER, *OUT_OF_RANGE.get(name, ()))
    if inner.get("enum"):
        yield from ("x", inner["enum"][0] + " ")
    if name == "job":
        yield from NO_JOB
    if name in ("job_settings", "meta", "environment") and not repeat:
        yield from NO_OBJECT
    if repeat:
        yield ""
    if name not in ("job_settings", "meta", "environment", "fields", "cmd_args", "requirements"):
        yield "x" * 256


def bad_inputs(method: str, path: str) -> Iterator[Case]:
    """What is bad, the request, the statuses that may answer it, and what the message must name."""
    for name, schema, required in _params(CALLS[path][method.lower()]):
        if name != "apikey":
            yield from _bad_values(path, name, schema, required)
    good = urlencode(GOOD[path])
    yield _case(path, "a name that is no text", f"{good}&%FF=1", "parameter's name")
    yield _case(path, "a name with NUL", f"{good}&a%00=1", "parameter's name")
    if "project" in GOOD[path]:
        for project in ("3", "2147483647"):
            query = urlencode({**GOOD[path], "project": project})
            yield _case(path, "unknown project", query, f"doesn't have access to project {project}")
    if method == "POST":
        yield from _bad_bodies(path, GOOD[path])


def _case(path: str, what: str, query: str, named: str) -> Case:
    request: dict[str, Any] = {"url": f"/api{path}?{query}"}
    if path in UPLOADS and what != "egg is missing":
        request["files"] = {"egg": ("lib.egg", zipped())}
    return what, request, (400,), named


def _bad_values(path: str, name: str, schema: dict[str, Any], required: bool) -> Iterator[Case]:
    rest = {key: value for key, value in GOOD[path].items() if key != name}
    if required:
        yield _case(path, f"{name} is missing", urlencode(rest), name)
    if "binary" in (schema.get("format"), schema.get("items", {}).get("format")):
        return
    if required:
        yield _case(path, f"{name} is empty", urlencode({**rest, name: ""}), name)
    if schema["type"] != "array" and name != "job":
        yield _case(path, f"{name} twice", f"{urlencode(rest)}&{name}=1&{name}=2", name)
    for value in _wrong_values(name, schema):
        yield _case(path, f"{name}={value[:30]!r}", urlencode({**rest, name: value}), name)
    for raw in ("%FF", "a%C3", "%ED%A0%80", "%00", "a%00b"):
        yield _case(path, f"{name}={raw}", f"{urlencode(rest)}&{name}={raw}", name)


def _bad_bodies(path: str, good: dict[str, str]) -> Iterator[Case]:
    url = f"/api{path}"
    mixed = "multipart/form-data; boundary=B"

    def body(content: bytes, kind: str) -> dict[str, Any]:
        return {"url": url, "content": content, "headers": {b"Content-Type": kind.encode()}}

    def part(head: str, value: bytes) -> bytes:
        return (
            f"--B\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode("latin-1")
            + value
            + b"\r\n--B--\r\n"
        )

    form = urlencode(good).encode()
    for kind in (
        "application/json",
        "text/plain",
        "application/octet-stream",
        "é/x",
    ):
        yield "content type", body(form, kind), (400,), "content type"
    yield (
        "too large",
        body(form + b"&a=" + b"x" * (5 << 20), "application/x-www-form-urlencoded"),
        (413,),
        "larger than 4 MB",
    )
    many = b"&".join([form, *(b"p%d=1" % n for n in range(10_001))])
    yield "too many", body(many, "application/x-www-form-urlencoded"), (400,), "more than 10000 parameters"
    yield "no boundary", body(b"x", "multipart/form-data"), (400,), "boundary"
    for content in (
        b"rubbish",
        b"--B\r\nrubbish",
        part('name="project"', b"1")[:-7],
        b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n",
    ):
        yield f"multipart {content[:20]!r}", body(content, mixed), (400,), "multipart"
    for raw in (b"\xff", b"a\x00b"):
        yield "multipart value", body(part('name="project"', raw), mixed), (400,), "invalid value for project"
        yield (
            "multipart file name",
            body(part(f'name="egg"; filename="{raw.decode("latin-1")}"', b"x"), mixed),
            (400,),
            "",
        )
    yield "multipart name", body(part('name="\xff"', b"1"), mixed), (400,), "parameter's name"
    yield "large part", body(part('name="project"', b"1" * (5 << 20)), mixed), (400, 413), ""
    yield "empty", {"url": url}, (400,), "project"
