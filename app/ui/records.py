"""The tabs of a job: its items, requests and log, its stats, its arguments and settings."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from app.api import formats
from app.api.streams import Stream
from app.db import reading
from app.errors import BadParameter, NotFound
from app.keys import LARGEST, JobKey
from app.models import JobState, Kind
from app.services import coverage, reader, records, rerun, search
from app.services.search import Wanted
from app.ui import run, shown
from app.ui.job import ADDRESS, enter_job
from app.ui.job import page as show
from app.ui.wire import HEADERS, Visit, Visitor

router = APIRouter(prefix=ADDRESS)

ROWS, ITEMS_AS_JSON, LINES = 50, 20, 200  # of one page
COLUMNS = 40  # of the table of items
TEXT_LENGTH = 500  # characters that are looked for
LEVELS = ((0, "All"), (20, "Info and above"), (30, "Warnings and above"), (40, "Errors"))
STATUS_FORM = "a status, as 404, or a class, as 4xx"


@router.get("/items")
def items(call: Visit, project: str, spider: int, job: int) -> Response:
    """What the job has found, as a table or as JSON."""
    with reading() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        counted = coverage.of_job(session, view.id, Kind.ITEMS)
    params = visitor.params
    as_json = params.choice("view", ("table", "json"))[:1] == ["json"]
    wanted = Wanted(text=_text(visitor, "q"), field=params.maybe("field", length=TEXT_LENGTH) or "")
    rows = ITEMS_AS_JSON if as_json else ROWS
    page = search.page(view.id, Kind.ITEMS, counted.total, _start(visitor), rows, wanted)
    values = [record.value for record in page.records]
    columns = shown.columns(values, counted.counts)
    table = [(record.number, shown.row(record.value, columns[:COLUMNS])) for record in page.records]
    whole = [(record.number, *shown.whole(record.value)) for record in page.records]
    return show("job_items", visitor, view, "items", page=page, counted=counted, wanted=wanted,
        as_json=as_json, table=table, whole=whole if as_json else [],
        columns=columns[:COLUMNS], hidden=len(columns) - COLUMNS, rows=rows,
        fields=shown.columns([], counted.counts), kept=_kept(visitor, "q", "field", "view"),
        downloads=_downloads(view.key),
    )  # fmt: skip


@router.get("/items/{number:int}")
def item(call: Visit, project: str, spider: int, job: int, number: int) -> Response:
    """One item, all of it."""
    with reading() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        total = records.total(session, view.id, Kind.ITEMS)
    found = search.page(view.id, Kind.ITEMS, total, min(number, LARGEST), 1, Wanted()).records
    if not found or found[0].number != number:
        raise NotFound(f"Job {view.key} has no item {number}.")
    return show(
        "job_item",
        visitor,
        view,
        "items",
        number=number,
        total=total,
        text=shown.whole(found[0].value, LARGEST)[0],
    )


@router.get("/items.csv")
def items_csv(call: Visit, project: str, spider: int, job: int) -> Response:
    """All items as CSV with all their fields, whatever these are called: the API's list cannot name each."""
    with reading() as session:
        _, view = enter_job(session, call, project, spider, job)
        total = records.total(session, view.id, Kind.ITEMS)
    columns = shown.columns([], coverage.fields(view.id))
    blocks = reader.read(view.id, Kind.ITEMS, 0, total)
    return Stream(formats.csv_rows(blocks, columns, True), formats.CSV, HEADERS)


@router.get("/requests")
def requests(call: Visit, project: str, spider: int, job: int) -> Response:
    """What the job has asked for, and what was answered."""
    with reading() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        counted = coverage.of_job(session, view.id, Kind.REQUESTS)
    status = (visitor.params.maybe("status") or "").lower()
    if status and not (len(status) == 3 and status[0].isdigit() and (status.isdigit() or status[1:] == "xx")):
        raise BadParameter(f"invalid value for status: {status[:20]}; {STATUS_FORM}")
    wanted = Wanted(text=_text(visitor, "q"), field="url", status=status)
    page = search.page(view.id, Kind.REQUESTS, counted.total, _start(visitor), ROWS, wanted)
    return show("job_requests", visitor, view, "requests", page=page, counted=counted, wanted=wanted,
        table=[(record.number, shown.request(record.value)) for record in page.records],
        rows=ROWS, statuses=sorted(counted.counts.items()), kept=_kept(visitor, "q", "status"),
    )  # fmt: skip


@router.get("/log")
def log(call: Visit, project: str, spider: int, job: int) -> Response:
    """What the job has said; while it runs, what it says."""
    with reading() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        counted = coverage.of_job(session, view.id, Kind.LOGS)
    wanted = Wanted(
        level=visitor.params.integer("level", 0, 0, 100), text=_text(visitor, "q"), field="message"
    )
    running = view.job.state == JobState.RUNNING
    newest = running and not wanted.narrows and visitor.params.maybe("start") is None
    start = max(counted.total - LINES, 0) if newest else _start(visitor)
    page = search.page(view.id, Kind.LOGS, counted.total, start, LINES, wanted)
    tail = ""
    if view.active and page.done:
        tail = "/api/log.sse?" + urlencode(
            {"project": view.key.project, "job": str(view.key), "start": page.total}
        )
    numbers = {int(name): number for name, number in counted.counts.items() if name.isdigit()}
    levels = [
        (least, words, sum(number for level, number in numbers.items() if level >= least))
        for least, words in LEVELS
    ]
    return show("job_log", visitor, view, "log", page=page, counted=counted, wanted=wanted, levels=levels,
        lines=shown.lines(page.records), rows=LINES, tail=tail, kept=_kept(visitor, "q", "level"),
    )  # fmt: skip


@router.get("/stats")
def stats(call: Visit, project: str, spider: int, job: int) -> Response:
    """What Scrapy has counted."""
    with reading() as session:
        visitor, view = enter_job(session, call, project, spider, job)
    groups = shown.grouped(view.job.scrapystats or {})
    return show("job_stats", visitor, view, "stats", groups=groups)


@router.get("/settings")
def settings(call: Visit, project: str, spider: int, job: int) -> Response:
    """What the job was given, and the calls that run it again."""
    with reading() as session:
        visitor, view = enter_job(session, call, project, spider, job)
        new = rerun.same(session, view.key)
    calls = run.other_means(view.key.project, new)
    return show("job_settings", visitor, view, "settings", calls=calls, written=shown.written)


def _text(visitor: Visitor, name: str) -> str:
    return (visitor.params.maybe(name, length=TEXT_LENGTH) or "").strip()


def _start(visitor: Visitor) -> int:
    return visitor.params.integer("start", 0, 0)


def _kept(visitor: Visitor, *names: str) -> Mapping[str, Any]:
    """The parameters that a link within the tab keeps."""
    return {name: visitor.call.params[name] for name in names if visitor.call.params.get(name)}


def _downloads(key: JobKey) -> list[tuple[str, str]]:
    """Words and address of each form in which all items can be fetched."""
    query = urlencode({"project": str(key.project), "job": str(key)})
    return [
        ("CSV", f"/p/{key}/items.csv"),
        ("JSON", f"/items/{key}?format=json"),  # items.json of the other API ends at 1,000 of them
        ("JSON lines", f"/api/items.jl?{query}"),
        ("XML", f"/api/items.xml?{query}"),
    ]
