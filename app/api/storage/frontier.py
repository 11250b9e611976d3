"""hcf: what a crawl has seen, and what it has yet to fetch (contract 6.21)."""

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app import jsonlines
from app.api.params import Param, describe, describe_lines
from app.api.storage import answers
from app.api.storage.spool import RowSpool, portions
from app.api.storage.wire import Call, Caller, empty, enter, json_value
from app.db import reading, transaction
from app.errors import BadParameter
from app.services import frontier as service
from app.services.frontier import FP_LENGTH, HIGHEST, LOWEST, Address, Request
from app.services.reader import Block

router = APIRouter(tags=["hcf"])

OF_PROJECT = "/hcf/{project:segment}"
OF_FRONTIER = f"{OF_PROJECT}/{{frontier:segment}}"
OF_SLOT = f"{OF_FRONTIER}/s/{{slot:segment}}"

NAME_LENGTH = 255  # characters


def _name(text: str, what: str) -> str:
    if not 1 <= len(text) <= NAME_LENGTH or "\0" in text:
        raise BadParameter(f"invalid value for {what}: {text[:200]}; 1 to {NAME_LENGTH} characters, no NUL")
    return text


def _find(call: Call, project: str, frontier: str, slot: str) -> tuple[Address, int | None]:
    """The slot that the path names, for those who may enter the project; a job of it may."""
    with reading() as session:
        _, project_id = enter(session, call, project, shared=True)
        address = Address(project_id, _name(frontier, "frontier"), _name(slot, "slot"))
        return address, service.find(session, address)


@router.get(f"{OF_PROJECT}/list", openapi_extra=describe())
def frontiers(call: Caller, project: str) -> Response:
    """Names of the project's frontiers."""
    with reading() as session:
        _, project_id = enter(session, call, project, shared=True)
        return json_value(service.frontiers(session, project_id))


@router.get(f"{OF_FRONTIER}/list", openapi_extra=describe())
def slots(call: Caller, project: str, frontier: str) -> Response:
    """Names of a frontier's slots."""
    with reading() as session:
        _, project_id = enter(session, call, project, shared=True)
        return json_value(service.slots(session, project_id, _name(frontier, "frontier")))


@router.post(OF_SLOT, openapi_extra=describe_lines("object"))
def add(call: Caller, project: str, frontier: str, slot: str) -> Response:
    """Queue requests, an object with ``fp``, ``qdata``, ``fdata``, ``p`` in each line; seen ones are not."""
    address, _ = _find(call, project, frontier, slot)
    count = 0
    with RowSpool(4) as spool:
        for place, line in enumerate(call.lines(), 1):
            spool.add(*_checked(jsonlines.parse(line, place)[1], place))
        if spool.count:
            with transaction() as session:
                enter(session, call, project, shared=True)  # a job may have ended while the body was read
                count = service.add(
                    session, address, (list(map(_request, rows)) for rows in spool.portions())
                )
    return json_value({"newcount": count})


def _checked(value: Any, place: int) -> tuple[bytes, bytes, bytes, bytes]:
    """A request as it waits: fingerprint, priority, ``[fp, qdata]``, and fdata or nothing."""
    if not isinstance(value, dict):
        raise BadParameter(f"Error parsing data, line {place} is not a JSON object")
    fp, priority, fdata = value.get("fp"), value.get("p"), value.get("fdata")
    if not isinstance(fp, str) or not 1 <= len(fp.encode()) <= FP_LENGTH:
        raise BadParameter(f"Error parsing data, fp in line {place} is not a text of 1 to {FP_LENGTH} bytes")
    if priority is None:
        priority = 0
    if isinstance(priority, bool) or not isinstance(priority, int) or not LOWEST <= priority <= HIGHEST:
        raise BadParameter(f"Error parsing data, p in line {place} is not an integer of 32 bits")
    entry = jsonlines.dumps([fp, value.get("qdata")])
    return fp.encode(), b"%d" % priority, entry, b"" if fdata is None else jsonlines.dumps(fdata)


def _request(row: tuple[bytes, ...]) -> Request:
    fp, priority, entry, fdata = row
    return Request(fp, int(priority), entry, fdata.decode() or None)


@router.delete(OF_SLOT, openapi_extra=describe())
def drop(call: Caller, project: str, frontier: str, slot: str) -> Response:
    """Delete a slot, with its queue and the fingerprints it has seen."""
    address, _ = _find(call, project, frontier, slot)
    with transaction() as session:
        enter(session, call, project, shared=True)
        service.drop(session, address)
    return empty()


MINCOUNT = Param("mincount", "whole batches until there are so many requests; default all", type="integer")
FORMAT = Param("format", "instead of the Accept header", values=("jl", "json"))


@router.get(f"{OF_SLOT}/q", openapi_extra=describe(MINCOUNT, FORMAT))
def queue(call: Caller, project: str, frontier: str, slot: str) -> Response:
    """The queue in batches, lowest priority first, then oldest; reading removes nothing."""
    _, slot_id = _find(call, project, frontier, slot)
    given = call.params.maybe("mincount")
    mincount = None if given is None else call.params.integer("mincount", 0, low=0)
    found = service.batches(slot_id, mincount) if slot_id is not None else ()
    return _answer(call, ([_line(batch) for batch in page] for page in found))


def _line(batch: service.Batch) -> bytes:
    return b'{"id":"%s","requests":%s}' % (batch.id.encode(), batch.requests)


def _answer(call: Call, pages: Iterable[list[bytes]]) -> Response:
    blocks = (Block.of(lines) for lines in pages)
    return answers.answer(call, blocks, ("jl", "json"))


@router.post(f"{OF_SLOT}/q/deleted", openapi_extra=describe_lines("string"))
def remove_batches(call: Caller, project: str, frontier: str, slot: str) -> Response:
    """Remove batches, an id or an array of ids in each line; unknown ones are passed over."""
    address, _ = _find(call, project, frontier, slot)
    for _ in _ids(call):  # all of the body can be read, or nothing is removed
        pass
    for some in portions(_ids(call)):
        with transaction() as session:
            enter(session, call, project, shared=True)
            service.remove_batches(session, address, some)
    return empty()


def _ids(call: Call) -> Iterator[str]:
    for value in call.values():
        ids = value if isinstance(value, list) else [value]
        yield from (each for each in ids if isinstance(each, str))


@router.get(f"{OF_SLOT}/f", openapi_extra=describe(FORMAT))
def fingerprints(call: Caller, project: str, frontier: str, slot: str) -> Response:
    """All fingerprints that the slot has seen, in the order of their bytes."""
    _, slot_id = _find(call, project, frontier, slot)
    found = service.fingerprints(slot_id) if slot_id is not None else ()
    return _answer(call, ([jsonlines.dumps({"fp": fp.decode()}) for fp in page] for page in found))
