"""Was each job begun once and ended once, and the best one first? What a crowd did, and what the rows say."""

from collections import Counter
from collections.abc import Sequence

import orjson
from sqlalchemy import func, select
from sqlmodel import col

from app import db
from app.models import Activity, Job, JobState
from bench.crowd import Claim, Told


def faults(told: Told) -> dict[str, int]:
    """How often something went wrong, by what it is; empty when nothing did."""
    claimed, finished = [claim.id for claim in told.claims], told.finished
    found = {
        "claimed twice": len(claimed) - len(set(claimed)),
        "finished twice": len(finished) - len(set(finished)),
        "claimed and not finished, or the other way round": len(set(claimed) ^ set(finished)),
        "passed over for a worse one": len(out_of_order(told.claims)),
    }
    return {what: number for what, number in found.items() if number}


def newest_event() -> int:
    """The id of the newest event in the activity log, for ``faults_of_rows``."""
    with db.reading() as session:
        return session.scalar(select(func.max(col(Activity.id)))) or 0


def faults_of_rows(told: Told, since: int) -> dict[str, int]:
    """The same, asked of the platform's database, when nobody but that crowd has worked there.

    Args:
        since: ``newest_event`` of before.

    """
    event, claimed = col(Activity.event), [claim.id for claim in told.claims]
    mine = col(Activity.id) > since
    with db.reading() as session:
        doubled = session.scalars(select(event).where(mine).group_by(event).having(func.count() > 1)).all()
        kinds = Counter(orjson.loads(each)["event"] for each in session.scalars(select(event).where(mine)))
        running = session.scalar(select(func.count()).where(col(Job.state) == JobState.RUNNING)) or 0
        ended = 0
        for start in range(0, len(claimed), 500):
            these = col(Job.id).in_(claimed[start : start + 500])
            closed = (col(Job.state) == JobState.FINISHED) & (col(Job.close_reason) == "finished")
            ended += session.scalar(select(func.count()).where(these, closed)) or 0
    found = {
        "events written twice": len(doubled),
        "begun, by the activity log, otherwise than claimed": kinds["job:started"] - len(claimed),
        "ended, by the activity log, otherwise than claimed": kinds["job:completed"] - len(claimed),
        "still running": running,
        "not finished": len(claimed) - ended,
    }
    return {what: number for what, number in found.items() if number}


def out_of_order(claims: Sequence[Claim]) -> list[tuple[Claim, Claim]]:
    """Pairs of which the first was begun although the second, a better one, waited and nobody took it.

    A claim passes over the rows that other claims just take. So it is at fault only when it had ended
    before the claim of the better job began; until then that job waited, as all did before the first claim.
    """
    found = []
    by_end = sorted(claims, key=lambda claim: claim.ended)
    ended, worst = 0, None  # of the claims that had ended by then
    for claim in sorted(claims, key=lambda claim: claim.began):
        while ended < len(by_end) and by_end[ended].ended < claim.began:
            worst = by_end[ended] if worst is None else max(worst, by_end[ended], key=_rank)
            ended += 1
        if worst is not None and _rank(worst) > _rank(claim):
            found.append((worst, claim))
    return found


def _rank(claim: Claim) -> tuple[int, int]:
    """Smaller is better: the higher priority, then the older job."""
    return -claim.priority, claim.id
