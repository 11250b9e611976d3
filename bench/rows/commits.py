"""What do records of running jobs cost a PostgreSQL, commit by commit, and what does merging their chunks?"""

import time
from dataclasses import dataclass, field

from sqlalchemy import func, select

from app import db
from app.models import Chunk
from app.services import reconciler
from bench import crowd, history, proof
from bench.crowd import Crowd
from bench.lab import Lab, Row, median
from bench.postgres import Server, server
from bench.process import say
from bench.work import KINDS, Plain

# Few slots, and as many connections as the thousand have at work: so a job gets about as many commits in
# some seconds as one that says something all the time gets in a minute.
SLOTS, PROCESSES, THREADS = 40, 4, 5
WAITING = 5_000
PEER = "plain table"
_PLAIN_JOBS = (
    "INSERT INTO plain (priority, state, payload) "
    f"SELECT 2, 'pending', repeat('x', 200) FROM generate_series(1, {WAITING})"
)


@dataclass
class Costs:
    """Of one side, round by round."""

    rate: list[float] = field(default_factory=list)  # commits per second
    cpu: list[float] = field(default_factory=list)  # ms of the server's processor time for each
    wal: list[float] = field(default_factory=list)  # bytes of its log for each


def measure(lab: Lab) -> list[Row]:
    """Beside a table that has no more than the payloads, as many of them in a commit."""
    ours, least = Costs(), Costs()
    with server() as postgres:
        mine, theirs = postgres.create("ours"), postgres.create("plain")
        history.fill(postgres, "ours", WAITING, 0)
        postgres.execute(Plain.TABLE, _PLAIN_JOBS, "VACUUM ANALYZE", "CHECKPOINT", name="plain")

        def our_side() -> float:
            rate = _round(lab, postgres, mine, ours, plain=False)
            _merge(postgres)
            return rate

        lab.turns(
            "commits of records/s", [our_side, lambda: _round(lab, postgres, theirs, least, plain=True)]
        )
    what = f"records, {len(KINDS)} chunks in a commit, PostgreSQL"
    return [
        Row(what, "commits/s", "more", median(ours.rate), PEER, median(least.rate)),
        Row(f"{what}: of the server's processor", "ms", "less", median(ours.cpu), PEER, median(least.cpu)),
        Row(f"{what}: in its log", "bytes", "less", median(ours.wal), PEER, median(least.wal)),
    ]


def _round(lab: Lab, postgres: Server, url: str, costs: Costs, plain: bool) -> float:
    """Commits per second."""
    seconds = lab.of(6, 1)
    crowd.use(url)
    one = Crowd(url, SLOTS, PROCESSES, THREADS, 0, storing=seconds, plain=plain, sweeps=False)
    told, seen = crowd.let_work(one, postgres.look)
    if faults := proof.faults(told):
        raise RuntimeError(f"{url}: {faults}")
    commits = told.stored * seconds
    costs.rate.append(told.stored)
    costs.cpu.append((seen[3].cpu - seen[2].cpu) / commits * 1000)
    costs.wal.append((seen[3].wal - seen[2].wal) / commits)
    return told.stored


def _merge(postgres: Server) -> None:
    """Merge the chunks of the jobs that have just ended, as a scheduler does, and tell what it took."""
    time.sleep(1)  # the crowd's connections are gone then
    before = _chunks()
    cpu, began = postgres.look().cpu, time.process_time()
    while reconciler.tidy(0):
        pass
    here, there = time.process_time() - began, postgres.look().cpu - cpu
    each = f"{here / SLOTS * 1000:.1f} ms here, {there / SLOTS * 1000:.1f} ms in the server"
    say(f"merging: {before:,} rows become {_chunks():,}; processor time for each of {SLOTS} jobs: {each}")


def _chunks() -> int:
    with db.reading() as session:
        return session.scalar(select(func.count()).select_from(Chunk)) or 0
