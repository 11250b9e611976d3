"""The collections of a project: which there are, their records by key, and one record."""

import orjson
from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.db import reading, transaction
from app.errors import BadParameter, NotFound
from app.services import collectionlist, collections
from app.services.collections import KEY_LENGTH, TYPES, Address, Range, Record, Source
from app.ui.wire import Visit, Visitor, enter_project, render, see

router = APIRouter(prefix="/p/{project}/collections")

PAGE = 50  # records
COUNTED, COUNTED_WELL = 100, 100_000  # records of each in the list, and of one that is looked at
COLLECTIONS = 50  # in the list
SHOWN = 300  # characters of a record in the list


@router.get("")
def listing(call: Visit, project: str) -> Response:
    """Collections by name, a part at a time, with how many records they have."""
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        after = visitor.params.maybe("after") or "", visitor.params.maybe("type") or ""
        if "\0" in "".join(after):
            raise BadParameter("invalid value for after: NUL character")
        found = collectionlist.page(session, project_id, COLLECTIONS + 1, after)
        shown = found[:COLLECTIONS]
        sources = [collections.find(session, Address(project_id, kind, name)) for kind, name in shown]
    rows = [
        (kind, name, collections.tally(source, Range(), maxscan=COUNTED))
        for (kind, name), source in zip(shown, sources, strict=True)
        if source is not None
    ]
    more = shown[-1] if len(found) > COLLECTIONS else None
    return render("collections", visitor, rows=rows, more=more, after=after[0])


@router.get("/{kind}/{name}")
def one(call: Visit, project: str, kind: str, name: str) -> Response:
    """Records of a collection in the order of their keys; with ``record``, that one alone."""
    with reading() as session:
        visitor, address, source = _find(session, call, project, kind, name)
        params = visitor.params
        key = params.maybe("record", length=KEY_LENGTH)
        value = None if key is None else collections.get(session, source, key.encode())
    if key is not None:
        if value is None:
            raise NotFound(f"Collection {name} has no record {key[:100]!r}.")
        text = orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2).decode()
        return render("record", visitor, address=address, key=key, text=text, size=len(value))
    prefix = params.maybe("prefix", length=KEY_LENGTH) or ""
    after = params.maybe("after", length=KEY_LENGTH)
    wanted = Range(
        prefixes=[prefix.encode()] if prefix else [],
        start=b"" if after is None else collections.following(after.encode()),
    )
    rows = [each for page in collections.scan(source, wanted, count=PAGE + 1) for each in page.records]
    count = collections.tally(source, Range(prefixes=wanted.prefixes), maxscan=COUNTED_WELL)
    shown = [(row.key.decode(), row.time, _preview(row)) for row in rows[:PAGE]]
    return render(
        "collection", visitor, address=address, rows=shown, count=count, prefix=prefix, after=after,
        more=shown[-1][0] if len(rows) > PAGE else None,
    )  # fmt: skip


def _preview(record: Record) -> str:
    text = record.value.decode()
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


@router.post("/{kind}/{name}/delete")
def delete(call: Visit, project: str, kind: str, name: str) -> Response:
    """Delete a record or, without ``record``, the collection; it is asked for first."""
    with reading() as session:
        visitor, address, source = _find(session, call, project, kind, name)
        key = visitor.params.maybe("record", length=KEY_LENGTH)
        same = [each for each, other in collections.listing(session, address.project_id) if other == name]
    here = f"/p/{address.project_id}/collections"
    if not visitor.params.flag("confirmed"):
        count = collections.tally(source, Range(), maxscan=COUNTED_WELL)
        return render(
            "collection_delete", visitor, address=address, key=key, same=same, count=count, here=here
        )
    with transaction() as session:
        if key is None:
            collections.drop(session, address.project_id, name)
        elif not collections.remove(session, address, [key.encode()]):
            raise NotFound(f"Collection {name} has no record {key[:100]!r}.")
    if key is None:
        return see(here, f"Collection {name} was deleted.")
    return see(f"{here}/{kind}/{name}", f"Record {key[:200]!r} was deleted.")


def _find(
    session: Session, call: Visit, project: str, kind: str, name: str
) -> tuple[Visitor, Address, Source]:
    visitor, project_id = enter_project(session, call, project)
    address = Address(project_id, kind, name)
    source = collections.find(session, address) if kind in TYPES else None
    if source is None:
        raise NotFound(f"There is no collection {kind}/{name}.")
    return visitor, address, source
