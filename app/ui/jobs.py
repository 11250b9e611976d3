"""The jobs of a project: seen in sections, and what is done with one or many of them."""

from collections.abc import Callable, Iterator, Sequence

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.api.params import Params
from app.db import reading, transaction
from app.errors import AlreadyScheduled, BadParameter, NotFound
from app.keys import JobKey
from app.models import JobState
from app.services import jobboard, joblist, jobs, projects, rerun
from app.ui import filters
from app.ui.wire import Visit, Visitor, enter_project, render, see

router = APIRouter(prefix="/p/{project}/jobs")

STATES = (JobState.PENDING, JobState.RUNNING, JobState.FINISHED)
FEW, MANY = 20, 50  # rows of a section among others, and of one alone
MOST = 5_000  # jobs that one press can change: each is a field of the form that confirms it
PORTION = 500  # of them in one transaction

# What can be done with many jobs: the words of the button, and of what was done.
ACTIONS = {
    "stop": ("Stop", "were asked to stop"),
    "delete": ("Delete", "were deleted"),
    "rerun": ("Run again", "were scheduled again"),
    "tag": ("Add tag", "were tagged"),
    "untag": ("Remove tag", "lost the tag"),
}


@router.get("")
def board(call: Visit, project: str) -> Response:
    """Pending, running, finished jobs; the query string is the filter."""
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        params = visitor.params
        wanted = filters.read(params, project_id)
        chosen = params.choice("state", STATES)[:1]
        after = params.maybe("after") or ""
        if after and not chosen:
            raise BadParameter("'after' goes with 'state'")
        sections = []
        for state in map(JobState, chosen or STATES):
            limit = MANY if chosen or state == JobState.FINISHED else FEW
            sections.append(jobboard.section(session, wanted, state, after, limit))
        counts = {each.state: each.count for each in sections}
        for state in STATES:
            counts.setdefault(state, jobboard.count(session, wanted, state))
        spiders = [row.name for row in projects.spiders(session, project_id)]
        outcomes = [reason for reason, _ in jobboard.outcomes(session, project_id)]
    kept = {name: call.params[name] for name in (*filters.NAMES, "state") if call.params.get(name)}
    return render(
        "jobs", visitor, sections=sections, counts=counts, states=STATES, state=chosen[0] if chosen else "",
        wanted=wanted, kept=kept, after=after, spiders=spiders, outcomes=outcomes, since=filters.SINCE,
        events=f"/api/events.sse?project={project_id}", actions=ACTIONS,
    )  # fmt: skip


@router.post("/priority")
def priority(call: Visit, project: str) -> Response:
    """Change the priority of a job that waits."""
    with transaction() as session:
        visitor, project_id = enter_project(session, call, project)
        key = _keys(visitor.params, project_id)[0]
        level = visitor.params.integer("priority", 2, 0, 4)
        rerun.set_priority(session, key, level, visitor.name)
    return see(_back(visitor), f"Job {key} now has priority {level}.")


@router.post("/bulk")
def bulk(call: Visit, project: str) -> Response:
    """Do something with many jobs: first it is shown with how many, then it is done."""
    with reading() as session:
        visitor, project_id = enter_project(session, call, project)
        params = visitor.params
        (action,) = params.choice("action", list(ACTIONS)) or [""]
        if not action:
            raise BadParameter("missing 'action' argument")
        tag = params.maybe("tag_name") or ""
        if action in ("tag", "untag") and not tag:
            return see(_back(visitor), "Write the tag beside the button first.")
        keys = _chosen(session, visitor, project_id)
        if not keys:
            return see(_back(visitor), "Select at least one job first.")
        states = _states(session, project_id, keys)
    if not params.flag("confirmed"):
        return render(
            "jobs_bulk", visitor, keys=keys, states=states, action=action, words=ACTIONS[action][0], tag=tag,
            back=_back(visitor), most=MOST,
        )  # fmt: skip
    count, problems = _carry_out(action, keys, tag, visitor.name)
    said = f"{count} of {len(keys)} jobs {ACTIONS[action][1]}."
    if problems:
        said += f" {problems[0]}" + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
    return see(_back(visitor), said)


def _keys(params: Params, project: int) -> list[JobKey]:
    return params.job_keys("job", project, required=True)


def _chosen(session: Session, visitor: Visitor, project: int) -> list[JobKey]:
    """The jobs that were selected: one by one, or all that the filter selects."""
    if not visitor.params.flag("everything"):
        return visitor.params.job_keys("job", project)[:MOST]
    wanted = filters.read(visitor.params, project)
    states = [JobState(each) for each in visitor.params.choice("state", STATES)] or STATES
    return jobboard.keys(session, wanted, states, MOST)


def _states(session: Session, project: int, keys: Sequence[JobKey]) -> dict[str, int]:
    """How many of the jobs are in each state."""
    states: dict[str, int] = {}
    for some in _portions(keys):
        wanted = joblist.Filter(project, keys=some, states=STATES)
        for row in joblist.page(session, wanted, len(some), 0):
            states[row.state] = states.get(row.state, 0) + 1
    return states


def _portions(keys: Sequence[JobKey]) -> Iterator[Sequence[JobKey]]:
    for start in range(0, len(keys), PORTION):
        yield keys[start : start + PORTION]


def _carry_out(action: str, keys: Sequence[JobKey], tag: str, by: str) -> tuple[int, list[str]]:
    """Do it, some jobs at a time, each portion a transaction; how many it were, and what was refused."""
    problems: list[str] = []
    told = False

    def again(session: Session, some: Sequence[JobKey], by: str) -> int:
        done = 0
        for key in some:
            try:
                rerun.again(session, key, by)
                done += 1
            except (AlreadyScheduled, NotFound) as problem:
                problems.append(f"{key}: {problem}.")
        return done

    def tagged(session: Session, some: Sequence[JobKey], by: str) -> int:
        nonlocal told
        ids = jobs.ids_of(session, some)
        tags: tuple[list[str], list[str]] = ([tag], []) if action == "tag" else ([], [tag])
        if joblist.update_tags(session, ids, *tags) and not told:
            joblist.tell_of_tags(session, keys[0].project, by, *tags, len(keys))
            told = True
        return len(ids)

    work: dict[str, Callable[[Session, Sequence[JobKey], str], int]] = {
        "stop": jobs.request_stop,
        "delete": jobs.delete,
        "rerun": again,
        "tag": tagged,
        "untag": tagged,
    }
    count = 0
    for some in _portions(keys):
        with transaction() as session:
            count += work[action](session, some, by)
    return count, problems


def _back(visitor: Visitor) -> str:
    """The page of jobs that they came from, with its filter."""
    assert visitor.project is not None
    query = (visitor.params.maybe("back", length=2000) or "").removeprefix("?")
    return f"/p/{visitor.project.id}/jobs" + (f"?{query}" if query and query.isprintable() else "")
