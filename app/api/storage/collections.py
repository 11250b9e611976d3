"""collections: records under keys (contract 6.20)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path
from starlette.responses import Response

from app import jsonlines
from app.api import filters, formats
from app.api.params import Param, Params, describe, describe_lines
from app.api.storage import answers
from app.api.storage.spool import RowSpool, portions
from app.api.storage.wire import (
    FORMATS,
    JSON,
    TEXT,
    Call,
    Caller,
    empty,
    enter,
    json_value,
    rows,
    stream,
    wants,
)
from app.db import reading, transaction
from app.errors import BadParameter, NotFound, TooLarge
from app.services import collections
from app.services.collections import ALL, KEY_LENGTH, TYPES, Address, Page, Range, Record, Source
from app.services.reader import Block

router = APIRouter(tags=["collections"])

MAXSCAN = 500_000
OF_PROJECT = "/collections/{project:segment}"
OF_ONE = f"{OF_PROJECT}/{{type:segment}}/{{name:segment}}"
OF_KEY = f"{OF_ONE}/{{key:path}}"
Kind = Annotated[str, Path(alias="type", description="s, cs, vs or vcs")]

WHICH = (
    Param("key", "only the records of these keys", repeat=True),
    Param("prefix", "only the records whose keys begin with one of these", repeat=True),
    Param("prefixcount", "at most so many of each prefix", type="integer"),
    Param("startts", "only what was written at this time or later, ms", type="integer"),
    Param("endts", "only what was written before this time, ms", type="integer"),
    Param("start", "first key, or the next one there is"),
    Param("startafter", "as start, but without that key"),
    Param("filter", '["field", "operator", [arguments]]; all that are given must hold', repeat=True),
)
LIMIT = Param("maxscan", f"look at so many records at most; default {MAXSCAN}", type="integer")
SHOWN = (
    Param("meta", "add this field to each record", repeat=True, values=("_key", "_ts")),
    Param("nodata", "1: nothing but the fields of meta"),
)
NAME = Param("name", "name of the collections, of all types", required=True)


# What a call is about


def _address(project_id: int, kind: str, name: str) -> Address:
    if kind not in TYPES:
        raise NotFound(f"unknown type of collection: {kind[:50]}; one of {', '.join(sorted(TYPES))}")
    return Address(project_id, kind, _name(name, "name"))


def _name(text: str, what: str) -> str:
    if not re.fullmatch(r"\w{1,255}", text):
        raise BadParameter(f"invalid value for {what}: {text[:200]}; letters, digits and _, at most 255")
    return text


def _find(call: Call, project: str, kind: str, name: str) -> tuple[Address, Source | None]:
    """The collection that the path names, for those who may enter the project; a job of it may."""
    with reading() as session:
        address = _address(enter(session, call, project, shared=True)[1], kind, name)
        return address, collections.find(session, address)


def _range(params: Params) -> Range:
    start = (params.maybe("start", length=KEY_LENGTH) or "").encode()
    after = params.maybe("startafter", length=KEY_LENGTH)
    return Range(
        keys=[each.encode() for each in params.long("key")],
        prefixes=[each.encode() for each in params.long("prefix")],
        prefix_count=params.integer("prefixcount", ALL, low=0),
        start=start if after is None else max(start, collections.following(after.encode())),
        since=params.moment("startts"),
        before=params.moment("endts"),
    )


# Reading many


def _lines(records: Iterable[Record], params: Params) -> list[bytes]:
    """Records as JSON, with the meta fields asked for (contract 5.8)."""
    meta, alone = params.many("meta"), params.flag("nodata")
    lines = []
    for record in records:
        line, more = b"{}" if alone else record.value, b""
        if "_key" in meta:
            more += b',"_key":' + orjson.dumps(record.key.decode())
        if "_ts" in meta:
            more += b',"_ts":%d' % record.time
        lines.append(line[:-1] + (more[1:] if line == b"{}" else more) + b"}")
    return lines


def _pages(source: Source | None, params: Params, count: int = ALL, maxscan: int = ALL) -> Iterator[Page]:
    wanted, test = _range(params), filters.read(params)
    values = test is not None or not params.flag("nodata")
    if source is None:
        return iter(())
    return collections.scan(source, wanted, test=test, values=values, count=count, maxscan=maxscan)


@router.get(
    OF_ONE,
    openapi_extra=describe(
        *WHICH, Param("count", "at most so many", type="integer"), *SHOWN, *answers.PARAMS
    ),
)
def read_many(call: Caller, project: str, kind: Kind, name: str) -> Response:
    """Records of a collection, in the order of their keys; none when there is no such collection."""
    (_, source), params = _find(call, project, kind, name), call.params
    pages = _pages(source, params, count=params.integer("count", ALL, low=0))
    blocks = (Block.of(_lines(page.records, params)) for page in pages if page.records)
    return answers.answer(call, blocks)


@router.get(f"{OF_ONE}/scan", openapi_extra=describe(*WHICH, *SHOWN, LIMIT))
def scan(call: Caller, project: str, kind: Kind, name: str) -> Response:
    """Records as one JSON object; with ``nextstart``, the key to go on with, when there are more."""
    (_, source), params = _find(call, project, kind, name), call.params
    pages = _pages(source, params, maxscan=params.integer("maxscan", MAXSCAN, low=1))
    return stream(call, _values(pages, params), JSON)


def _values(pages: Iterator[Page], params: Params) -> Iterator[bytes]:
    opening, beyond = b'{"values":[', None
    for page in pages:
        if page.records:
            yield opening + b",".join(_lines(page.records, params))
            opening = b","
        beyond = page.next
    end = b"]" if beyond is None else b'],"nextstart":' + orjson.dumps(beyond.decode())
    yield (b"" if opening == b"," else opening) + end + b"}"


@router.get(f"{OF_ONE}/count", openapi_extra=describe(*WHICH, LIMIT))
def count(call: Caller, project: str, kind: Kind, name: str) -> Response:
    """How many records there are; with ``nextstart``, the key to go on with, when not all were looked at."""
    (_, source), params = _find(call, project, kind, name), call.params
    wanted, test = _range(params), filters.read(params)
    maxscan = params.integer("maxscan", MAXSCAN, low=1)
    found = collections.tally(source, wanted, test=test, maxscan=maxscan) if source else collections.Tally()
    return _totals("count", found.count, found.scanned, found.next)


def _totals(name: str, total: int, scanned: int, beyond: bytes | None) -> Response:
    more = {} if beyond is None else {"nextstart": beyond.decode()}
    return json_value({name: total, "scanned": scanned, **more})


# Writing many


@router.post(OF_ONE, openapi_extra=describe_lines("object"))
def write_many(call: Caller, project: str, kind: Kind, name: str) -> Response:
    """Store records, a JSON object with a ``_key`` in each line, in place of those of the same keys."""
    address, _ = _find(call, project, kind, name)
    with RowSpool(2) as spool:
        for place, line in enumerate(call.lines(), 1):
            spool.add(*_checked(jsonlines.parse(line, place)[1], place))
        if spool.count:
            _put(call, address, project, spool.portions())
    return empty()


def _checked(value: Any, place: int) -> tuple[bytes, bytes]:
    """A record as it is kept: key, and value without it."""
    if not isinstance(value, dict):
        raise BadParameter(f"Error parsing data, line {place} is not a JSON object")
    key = value.pop("_key", None)
    if not isinstance(key, str) or not key:
        raise BadParameter("Error parsing data, missing value for _key field")
    return _key(key), _stored(value)


def _key(text: str) -> bytes:
    key = text.encode()
    if not 1 <= len(key) <= KEY_LENGTH:
        raise BadParameter(f"Error parsing data, a _key has 1 to {KEY_LENGTH} bytes: {text[:100]}")
    return key


def _stored(value: dict[str, Any]) -> bytes:
    stored = jsonlines.dumps(value)
    if len(stored) > jsonlines.LARGEST_VALUE:
        raise TooLarge(
            f"Error parsing data, Serialized value too large - max {jsonlines.LARGEST_VALUE} bytes"
        )
    return stored


def _put(call: Call, address: Address, project: str, some: Iterable[Sequence[tuple[bytes, ...]]]) -> None:
    with transaction() as session:
        enter(session, call, project, shared=True)  # a job may have ended while the body was read
        collections.put(session, address, some)


@router.delete(OF_ONE, openapi_extra=describe(*WHICH, LIMIT))
def remove_range(call: Caller, project: str, kind: Kind, name: str) -> Response:
    """Remove records; with ``nextstart``, the key to go on with, when not all were looked at."""
    (address, source), params = _find(call, project, kind, name), call.params
    wanted, test = _range(params), filters.read(params)
    maxscan = params.integer("maxscan", MAXSCAN, low=1)
    scanned, deleted, beyond = 0, 0, None
    found = (
        collections.scan(source, wanted, test=test, values=test is not None, maxscan=maxscan)
        if source
        else ()
    )
    for page in found:
        with transaction() as session:
            enter(session, call, project, shared=True)
            deleted += collections.remove_unchanged(session, address, page.records)
        scanned, beyond = scanned + page.scanned, page.next
    return _totals("deleted", deleted, scanned, beyond)


@router.post(f"{OF_ONE}/deleted", openapi_extra=describe_lines("string"))
def remove_many(call: Caller, project: str, kind: Kind, name: str) -> Response:
    """Remove the records of keys, a JSON string or an array of strings in each line."""
    address, _ = _find(call, project, kind, name)
    for _ in _keys(call):  # all of the body is good, or nothing is removed
        pass
    for some in portions(_keys(call)):
        with transaction() as session:
            enter(session, call, project, shared=True)
            collections.remove(session, address, some)
    return empty()


def _keys(call: Call) -> Iterator[bytes]:
    for place, value in enumerate(call.values(), 1):
        keys = value if isinstance(value, list) else [value]
        for key in keys:
            if not isinstance(key, str):
                raise BadParameter(f"Error parsing data, line {place} is not a key")
            yield key.encode()


# One record


@router.get(
    OF_KEY,
    openapi_extra=describe(Param("format", "instead of the Accept header", values=("jl", "json", "msgpack"))),
)
def read_one(call: Caller, project: str, kind: Kind, name: str, key: str) -> Response:
    """The record of a key, without ``_key``; or below it, the text of one of its fields."""
    _, source = _find(call, project, kind, name)
    *outer, last = parts = call.segments(4)
    with reading() as session:
        value = collections.get(session, source, "/".join(parts).encode())
        # A slash that is not encoded may belong to the key, or stand before a field.
        within = collections.get(session, source, "/".join(outer).encode()) if value is None else None
    if value is not None:
        chosen = wants(call, ("jl", "json", "msgpack"))
        answer = next(formats.msgpack([Block(value, (0,))])) if chosen == "msgpack" else value + b"\n"
        return Response(answer, media_type=f"{FORMATS[chosen]}; charset=UTF-8")
    if within is None or last not in orjson.loads(within):
        raise NotFound("Not Found")
    return stream(call, formats.values_text([Block(within, (0,))], last), TEXT)


@router.post(OF_KEY, openapi_extra=describe_lines("object"))
def write_one(call: Caller, project: str, kind: Kind, name: str, key: str) -> Response:
    """Store a JSON object under a key."""
    address, _ = _find(call, project, kind, name)
    value = call.value()
    if not isinstance(value, dict):
        raise BadParameter("Error parsing data, not a JSON object")
    value.pop("_key", None)
    _put(call, address, project, [[(_key("/".join(call.segments(4))), _stored(value))]])
    return empty()


@router.delete(OF_KEY, openapi_extra=describe())
def remove_one(call: Caller, project: str, kind: Kind, name: str, key: str) -> Response:
    """Remove the record of a key, if there is one."""
    address, _ = _find(call, project, kind, name)
    whole = "/".join(call.segments(4)).encode()
    if not whole:
        raise BadParameter("an empty key; without the slash at its end the path is the whole collection")
    with transaction() as session:
        enter(session, call, project, shared=True)
        collections.remove(session, address, [whole])
    return empty()


# The collections of a project


@router.get(f"{OF_PROJECT}/list", openapi_extra=describe())
def listing(call: Caller, project: str) -> Response:
    """Type and name of each collection."""
    with reading() as session:
        _, project_id = enter(session, call, project, shared=True)
        found = collections.listing(session, project_id)
    return rows(call, [{"type": kind, "name": name} for kind, name in found])


@router.post(f"{OF_PROJECT}/delete", openapi_extra=describe(NAME))
def drop(call: Caller, project: str) -> Response:
    """Delete the collections of a name, of all types."""
    with transaction() as session:
        _, project_id = enter(session, call, project, shared=True)
        name = _name(call.params.text("name"), "name")
        collections.drop(session, project_id, name)
    return json_value({"status": "success", "deleted": name}, 202)


@router.post(
    f"{OF_PROJECT}/rename", openapi_extra=describe(NAME, Param("new_name", "their new name", required=True))
)
def rename(call: Caller, project: str) -> Response:
    """Rename the collections of a name, of all types; none of the new name may exist."""
    with transaction() as session:
        _, project_id = enter(session, call, project, shared=True)
        name, new_name = (_name(call.params.text(each), each) for each in ("name", "new_name"))
        collections.rename(session, project_id, name, new_name)
    return json_value({"status": "success", "renamed": name, "new_name": new_name})
