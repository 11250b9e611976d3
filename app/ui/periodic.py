"""Periodic jobs: the list, the form with its preview, the history; pause, run now, delete."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import islice, zip_longest
from typing import Any

import orjson
from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.api.body import Body
from app.api.params import Params
from app.db import AnyRow, now_ms, reading, transaction
from app.errors import BadParameter, CrawldockError, NotFound, Refused
from app.keys import number
from app.models import RunState
from app.services import cron, firing, periodic, plans, projects
from app.services.plans import Plan
from app.ui import run, words
from app.ui.wire import PROBLEMS, Visit, enter_project, render, see, status_of

router = APIRouter(prefix="/p/{project}/periodic-jobs")

ROWS = 25  # schedules of a page
LAST = 10  # runs of each that the list shows
JOBS = 5  # jobs of a run that are looked at there
HISTORY = 25  # runs of a page
TIMES = 5
# A run is as good as the worst of its jobs.
WORST = ("bad", "wished", "stopping", "running", "pending", "good")
PRESETS = (
    ("0 * * * *", "every hour"),
    ("0 5 * * *", "every day at 05:00"),
    ("0 5 * * MON-FRI", "Monday to Friday at 05:00"),
    ("0 5 * * SUN", "every Sunday at 05:00"),
    ("0 5 1 * *", "on the first of each month at 05:00"),
    ("*/15 * * * *", "every quarter of an hour"),
)


@router.get("")
def listing(call: Visit, project: str) -> Response:
    """Schedules with their next and last runs; ``search`` narrows, ``after`` goes on."""
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        search = visitor.params.maybe("search") or ""
        after = visitor.params.integer("after", 0, low=0)
        rows = periodic.listing(session, project_id, search, after=after, limit=ROWS + 1)
        more, rows = (rows[ROWS - 1].id if len(rows) > ROWS else None), rows[:ROWS]
        gone = periodic.missing(session, project_id, rows)
        runs = periodic.last_runs(session, [row.id for row in rows], LAST)
        dots = {one: _dots(session, some) for one, some in runs.items()}
        count = periodic.count(session, project_id, search)
    return render(
        "periodic", visitor, rows=rows, dots=dots, count=count, search=search, after=after, more=more,
        words={row.id: cron.explain(row.cron) for row in rows},
        shown={row.id: cron.shown(row.next_time, row.timezone) for row in rows if row.next_time},
        problems={row.id: periodic.problem(row, gone.get(row.id, [])) for row in rows},
        events=f"/api/events.sse?project={project_id}",
    )  # fmt: skip


def _dots(session: Session, runs: Sequence[AnyRow]) -> list[tuple[str, str]]:
    """Of each run, the oldest first: how it looks, and in words."""
    jobs = periodic.jobs_of(session, runs)
    found = []
    for each in reversed(runs):
        looks = {_tone(jobs[key]) for key in (each.jobs or [])[:JOBS] if key in jobs}
        worst = next((look for look in WORST if look in looks), str(each.state))
        ends = {jobs[key].close_reason or jobs[key].state for key in (each.jobs or [])[:JOBS] if key in jobs}
        found.append((worst, ", ".join(sorted(ends)) or each.state))
    return found


def _tone(job: AnyRow) -> str:
    return words.tone(job.state, job.close_reason, job.stop_time is not None)


@router.get("/new")
def new(call: Visit, project: str) -> Response:
    """The form, empty."""
    return _form(call, project)


@router.post("/new/preview")
def preview_new(call: Visit, project: str) -> Response:
    """The form again, with the next runs in words and times."""
    return _form(call, project)


@router.post("/new")
def create(call: Visit, project: str) -> Response:
    """Make a schedule."""
    try:
        with transaction() as session:
            visitor, project_id = enter_project(session, call, project)
            plan = plans.parse(_fields(call.params))
            made = periodic.create(session, project_id, plan, visitor.name)
    except PROBLEMS as problem:
        return _form(call, project, problem=problem)
    return see(f"/p/{project_id}/periodic-jobs/{made}", f"Saved: {cron.explain(plan.cron)}.")


@router.get("/{periodic_id}")
def edit(call: Visit, project: str, periodic_id: str) -> Response:
    """The form of a schedule, its next runs, its history."""
    return _form(call, project, _id(periodic_id))


@router.post("/{periodic_id}/preview")
def preview(call: Visit, project: str, periodic_id: str) -> Response:
    """The form again, with the next runs in words and times."""
    return _form(call, project, _id(periodic_id))


@router.post("/{periodic_id}")
def save(call: Visit, project: str, periodic_id: str) -> Response:
    """Change a schedule."""
    number_of = _id(periodic_id)
    try:
        with transaction() as session:
            visitor, project_id = enter_project(session, call, project)
            row = periodic.hold(session, project_id, number_of)
            if call.typed("seen", _mark(row)) != _mark(row):
                raise Refused("Somebody has changed this schedule since you opened it. Open it again.")
            plan = plans.parse(_fields(call.params), plans.of_row(row))
            periodic.change(session, row, plan, visitor.name)
    except PROBLEMS as problem:
        return _form(call, project, number_of, problem)
    return see(f"/p/{project_id}/periodic-jobs/{number_of}", f"Saved: {cron.explain(plan.cron)}.")


@router.post("/{periodic_id}/run")
def run_now(call: Visit, project: str, periodic_id: str) -> Response:
    """Run its jobs now."""
    with transaction() as session:
        visitor, project_id = enter_project(session, call, project)
        done = firing.run_now(session, project_id, _id(periodic_id), visitor.name)
    said = f"{words.plural(len(done.jobs or ()), 'job')} scheduled: {', '.join(done.jobs or ())[:200]}."
    if done.state == RunState.FAILED or done.reason:
        said = f"{said if done.jobs else 'Nothing was scheduled.'} {done.reason}."
    return see(_back(call, project_id, periodic_id), said)


@router.post("/{periodic_id}/pause")
def pause(call: Visit, project: str, periodic_id: str) -> Response:
    """Pause it, or let it go on."""
    with transaction() as session:
        visitor, project_id = enter_project(session, call, project)
        paused = not visitor.params.flag("resume")
        number_of = _id(periodic_id)
        periodic.pause(session, project_id, number_of, visitor.name, paused=paused)
    return see(_back(call, project_id, periodic_id), "Paused." if paused else "It goes on.")


@router.post("/{periodic_id}/delete")
def delete(call: Visit, project: str, periodic_id: str) -> Response:
    """Delete it with its history."""
    with transaction() as session:
        visitor, project_id = enter_project(session, call, project)
        periodic.remove(session, project_id, _id(periodic_id), visitor.name)
    return see(f"/p/{project_id}/periodic-jobs", "Deleted. Its jobs are still there.")


def _id(text: str) -> int:
    try:
        return number(text, "periodic job")
    except BadParameter:
        raise NotFound("There is no such page.") from None


def _back(call: Visit, project_id: int, periodic_id: str) -> str:
    """The page that they came from: the list, or that of the schedule."""
    page = f"/p/{project_id}/periodic-jobs"
    return page if call.typed("back") == "list" else f"{page}/{_id(periodic_id)}"


# The form


def _form(
    call: Visit, project: str, periodic_id: int | None = None, problem: CrawldockError | None = None
) -> Response:
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        names = [spider.name for spider in projects.spiders(session, project_id)]
        row = None if periodic_id is None else periodic.get(session, project_id, periodic_id)
        before = visitor.params.moment("before")
        history = [] if row is None else periodic.runs(session, row.id, before, HISTORY + 1)
        jobs = periodic.jobs_of(session, history)
        gone = [] if row is None else periodic.missing(session, project_id, [row]).get(row.id, [])
        now = session.scalar(select(now_ms())) or 0
    if call.method == "GET" and row is not None:
        call.params |= _typed(plans.of_row(row))
    elif call.method == "GET" and len(names) == 1:
        call.params.setdefault("spider", names)
    plan, wrong = None, problem
    if call.method != "GET" or row is not None:
        try:
            plan = plans.parse(_fields(call.params))
        except BadParameter as unreadable:
            wrong = problem or unreadable  # a form that is being filled in is no failure
    return render(
        "periodic_job", visitor, status_of(problem) if problem else 200, row=row, plan=plan, problem=problem,
        wrong=wrong,
        seen=call.typed("seen", "" if row is None else _mark(row)),
        trouble=None if row is None else periodic.problem(row, gone), spiders=names, typed=call.typed,
        lines=_lines(call.params), presets=PRESETS, zones=sorted(cron.zones()), enabled=_enabled(call),
        words="" if plan is None else cron.explain(plan.cron), times=_times(plan, row, now),
        history=history[:HISTORY], more=len(history) > HISTORY, before=before, jobs=jobs, shown=cron.shown,
    )  # fmt: skip


def _mark(row: AnyRow) -> str:
    """Changes with what the form shows: who saves it must not undo what they have not seen."""
    return sha256(repr(plans.of_row(row)).encode()).hexdigest()[:16]


def _enabled(call: Visit) -> bool:
    return call.typed("enabled") == "1" if "sent" in call.params else True


def _times(plan: Plan | None, row: AnyRow | None, now: int) -> list[tuple[int, str]]:
    """The next fire times of what stands in the form: ms, and by the clock of its zone."""
    if plan is None:
        return []
    kept = row is not None and row.next_time and (row.cron, row.timezone) == (plan.cron, plan.timezone)
    after = row.next_time - 1 if row is not None and kept else now
    return [
        (time, cron.shown(time, plan.timezone))
        for time in islice(cron.upcoming(plan.cron, plan.timezone, after), TIMES)
    ]


def _lines(params: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """The spiders of the form, each a line of it; one more when that was asked for."""
    columns = ("spider", "spider_args", "spider_priority", "spider_tags")
    filled = zip_longest(*(params.get(name, ()) for name in columns), fillvalue="")
    lines = [dict(zip(columns, line, strict=True)) for line in islice(filled, plans.MOST_SPIDERS)]
    kept = [line for line in lines if line["spider"]]
    return [*kept, dict.fromkeys(columns, "")] if "add" in params or not kept else kept


def _fields(params: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What stands in the form, as the API takes it.

    Raises:
        BadParameter: arguments or settings cannot be read.

    """
    read = Params(Body(params={name: list(values) for name, values in params.items()}))
    spiders = [
        {
            "name": line["spider"].strip(),
            "args": _arguments(line["spider_args"]),
            "priority": line["spider_priority"] or None,
            "addtags": _split(line["spider_tags"]),
        }
        for line in _lines(params)
        if line["spider"].strip()
    ]
    if not spiders:
        raise BadParameter("Choose a spider.")
    settings = {name: run.setting(value) for name, value in run.pairs(read, "settings").items()}
    plain = ("description", "cron", "timezone", "overlap", "missed", "priority")
    return {
        **{name: read.maybe(name, length=1000) or None for name in plain},
        "jitter": read.maybe("jitter") or 0,
        "addtags": _split(read.maybe("tags", length=30_000) or ""),
        "job_settings": settings,
        "enabled": read.flag("enabled"),
        "spiders": spiders,
    }


def _split(text: str) -> list[str]:
    return [tag.strip() for tag in text.split(",") if tag.strip()]


def _arguments(text: str) -> dict[str, str]:
    """Lines ``name=value``; a value that a line cannot have stands there as JSON, in double quotes."""
    found = run.pairs(Params(Body(params={"arguments": [text]})), "arguments")
    for name, value in found.items():
        if value.startswith('"'):
            try:
                found[name] = str(orjson.loads(value))
            except orjson.JSONDecodeError:
                continue
    return found


def _argument(value: str) -> str:
    plain = value == value.strip() and len(value.splitlines()) < 2 and not value.startswith('"')
    return value if plain else orjson.dumps(value).decode()


def _setting(value: Any) -> str:
    if isinstance(value, str) and value == value.strip() and run.setting(value) == value:
        return value if len(value.splitlines()) < 2 else orjson.dumps(value).decode()
    return orjson.dumps(value).decode()


def _typed(plan: Plan) -> dict[str, list[str]]:
    """A plan as it stands in the form."""
    settings = (plan.job_settings or {}).items()
    spiders = plan.spiders
    return {
        **{
            name: [str(getattr(plan, name))]
            for name in ("description", "cron", "timezone", "overlap", "missed")
        },
        "jitter": [str(plan.jitter_seconds)],
        "priority": [str(plan.priority)],
        "tags": [", ".join(plan.tags)],
        "settings": ["\n".join(f"{name}={_setting(value)}" for name, value in settings)],
        "sent": ["1"],
        "enabled": ["1" if plan.enabled else "0"],
        "spider": [each["name"] for each in spiders],
        "spider_args": [
            "\n".join(f"{name}={_argument(value)}" for name, value in each.get("args", {}).items())
            for each in spiders
        ],
        "spider_priority": [str(each.get("priority", "")) for each in spiders],
        "spider_tags": [", ".join(each.get("tags", ())) for each in spiders],
    }
