"""What became of a job, in one sentence, compared with the last good runs of its spider."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.models import Job, JobState

GOOD = "finished"  # the close reason of a run that came to its own end
LAST = 10  # good runs that a job is compared with …
AMONG = 50  # … of so many finished ones
FEW = 3  # with fewer nothing is usual

# Close reasons whose words need words: what happened, and why.
_REASONS = {
    GOOD: ("Finished", ""),
    "cancelled": ("Was stopped", ""),
    "cancel_timeout": ("Was stopped", "it did not close by itself and was killed"),
    "cancelled (stalled)": ("Was stopped", "it had said nothing for too long"),
    "cancelled (time limit)": ("Was stopped", "it reached the time limit"),
    "closespider_errorcount": ("Closed itself", "it had too many errors"),
    "closespider_itemcount": ("Closed itself", "it reached its limit of items"),
    "closespider_pagecount": ("Closed itself", "it reached its limit of pages"),
    "closespider_timeout": ("Closed itself", "it reached its time limit"),
    "failed": ("Failed", ""),
    "killed by oom": ("Was killed", "it used more memory than it may"),
    "memusage_exceeded": ("Closed itself", "it used more memory than it may"),
    "no_reason": ("Ended", "it gave no reason"),
    "shutdown": ("Was ended", "its worker shut down"),
    "worker lost": ("Was lost", "its worker stopped answering"),
}


@dataclass(frozen=True)
class Usual:
    """The last good runs of a spider."""

    runs: int
    items: float  # on average
    runtime: float  # ms, the median


@dataclass(frozen=True)
class Facts:
    """What the sentence is made of."""

    state: str
    close_reason: str | None = None
    runtime: int | None = None  # ms, so far or in all
    items: int = 0
    errors: int = 0
    why: str = ""  # it waits
    stopping: bool = False
    cancelled_by: str | None = None
    usual: Usual | None = None


def usual(session: Session, job: Job) -> Usual | None:
    """The last good runs of the job's spider before it; None when they are too few to say what is usual."""
    before = (
        select(col(Job.close_reason), col(Job.items), col(Job.running_time), col(Job.finished_time))
        .where(col(Job.spider_id) == job.spider_id, col(Job.state) == JobState.FINISHED)
        .order_by(col(Job.state_time).desc(), col(Job.id).desc())
        .limit(AMONG)
    )
    if job.state == JobState.FINISHED:
        before = before.where(col(Job.state_time) < job.state_time)
    good = [row for row in session.execute(before) if row.close_reason == GOOD and row.running_time][:LAST]
    if len(good) < FEW:
        return None
    runtimes = [(row.finished_time or row.running_time) - row.running_time for row in good]
    return Usual(len(good), mean(row.items for row in good), median(runtimes))


def sentence(job: Facts) -> str:
    """What happened, or happens, in one sentence."""
    if job.state == JobState.PENDING:
        return f"Waits: {job.why}." if job.why else "Waits."
    if job.state == JobState.DELETED:
        return "Was deleted; what it found goes soon."
    if job.state == JobState.RUNNING:
        words = "Stopping: has run" if job.stopping else "Has run"
        text = f"{words} for {span(job.runtime or 0)}{_late(job)}, with {_amount(job.items, 'item')} so far"
        return f"{text}{_errors(job)}."
    reason = job.close_reason or "no_reason"
    words, why = _REASONS.get(reason, (f"Ended with “{reason}”", ""))
    if job.cancelled_by and reason.startswith("cancel"):
        words = words.replace("Was stopped", f"Was stopped by {job.cancelled_by}")
    if job.runtime is None:
        return f"{words} before it had started."
    text = (
        f"{words} after {span(job.runtime)} with {_amount(job.items, 'item')}{_compared(job)}{_errors(job)}"
    )
    return f"{text}: {why}." if why else f"{text}."


def _compared(job: Facts) -> str:
    if job.usual is None or job.items == job.usual.items == 0:
        return ""
    runs = f"the last {job.usual.runs} good runs"
    if job.usual.items < 0.5:
        return f", where {runs} had none"
    change = job.items / job.usual.items - 1
    if abs(change) < 0.02:
        return f", as usual for {runs}"
    if change > 1:
        return f", {_times(change + 1)} as many as {runs}"
    return f", {abs(change):.0%} {'more' if change > 0 else 'fewer'} than {runs}".replace("%", " %")


def _late(job: Facts) -> str:
    if (
        job.usual is None
        or not job.runtime
        or job.usual.runtime <= 0
        or job.runtime < 1.5 * job.usual.runtime
    ):
        return ""
    return f", {_times(job.runtime / job.usual.runtime)} as long as usual"


def _errors(job: Facts) -> str:
    return f"; {_amount(job.errors, 'error')}" if job.errors else ""


def _times(factor: float) -> str:
    return (
        "twice"
        if 1.95 <= factor < 2.05
        else f"{factor:.1f} times"
        if factor < 10
        else f"{_number(factor)} times"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _amount(value: int, one: str) -> str:
    return f"no {one}s" if value == 0 else f"{_number(value)} {one}{'' if value == 1 else 's'}"


def span(milliseconds: float) -> str:
    """A length of time in its two largest units."""
    seconds = max(milliseconds, 0) / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    parts: Sequence[tuple[int, str]] = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    whole = round(seconds)
    for place, (unit, name) in enumerate(parts):
        if whole >= unit:
            rest = whole % unit // parts[place + 1][0] if place < 3 else 0
            return f"{whole // unit} {name}" + (f" {rest} {parts[place + 1][1]}" if rest else "")
    return "0 s"
