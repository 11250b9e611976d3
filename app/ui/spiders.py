"""The spiders of a project, with what their last runs were like; and one spider."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from app.db import AnyRow, reading
from app.errors import BadParameter, NotFound
from app.keys import number
from app.services import spiderlist, spiderruns
from app.ui import words
from app.ui.wire import Visit, enter_project, render

router = APIRouter(prefix="/p/{project}/spiders")

PAGE = 25  # spiders
BARS, STEP, HEIGHT = 30, 8, 30  # how many are shown in a list; width with the gap, and height in pixels
LARGE_STEP, LARGE_HEIGHT = 14, 96


@dataclass(frozen=True)
class Bar:
    """A run as a bar: as high as it has items."""

    x: int
    y: float
    height: float
    tone: str
    run: AnyRow
    told: str  # the run in words


def bars(runs: Sequence[AnyRow], step: int = STEP, height: int = HEIGHT) -> list[Bar]:
    """Bars from left to right, the oldest run first; one without items is a line."""
    most = max((run.items for run in runs), default=0) or 1
    found = []
    for place, run in enumerate(runs):
        high = max(round(run.items / most * height, 1), 2.0)
        outcome = run.state if run.state != "finished" else run.close_reason or "no reason"
        told = f"Job {run.number}: {outcome}, {words.plural(run.items, 'item')}"
        if run.errors:
            told += f", {words.plural(run.errors, 'error')}"
        if run.finished_time is not None and run.running_time is not None:
            told += f", {words.duration(run.finished_time - run.running_time)}"
        tone = words.tone(run.state, run.close_reason)
        found.append(Bar(place * step, round(height - high, 1), high, tone, run, told))
    return found


@router.get("")
def listing(call: Visit, project: str) -> Response:
    """All spiders that can be run, by name."""
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        search, after = visitor.params.maybe("search") or "", visitor.params.maybe("after") or ""
        rows = spiderruns.page(session, project_id, search, PAGE + 1, after, BARS)
        count = spiderruns.count(session, project_id, search)
        version = spiderruns.version(session, project_id)
    more = rows[PAGE - 1].spider.name if len(rows) > PAGE else None
    shown = [(row, bars([*row.finished, *row.running][-BARS:])) for row in rows[:PAGE]]
    return render(
        "spiders", visitor, rows=shown, count=count, search=search, after=after, more=more, version=version,
        width=BARS * STEP, height=HEIGHT, bar=STEP - 1,
    )  # fmt: skip


@router.get("/{spider}")
def one(call: Visit, project: str, spider: str) -> Response:
    """One spider: its runs, medians and schedules."""
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        try:
            place = number(spider, "spider")
        except BadParameter:
            raise NotFound("There is no such page.") from None
        found = spiderruns.one(session, project_id, place)
        if found is None:
            raise spiderlist.unknown(project_id, place)
        version = spiderruns.version(session, project_id)
    runs = [*found.finished, *found.running]
    return render(
        "spider", visitor, each=found, runs=runs[::-1], bars=bars(runs, LARGE_STEP, LARGE_HEIGHT),
        width=spiderruns.RUNS * LARGE_STEP, height=LARGE_HEIGHT, bar=LARGE_STEP - 2, version=version,
        most=max((run.items for run in runs), default=0), medians=spiderruns.MEDIAN_OF,
    )  # fmt: skip
