"""How fast do a thousand slots claim, renew and finish jobs on PostgreSQL, and does a long history matter?"""

from dataclasses import dataclass, field

from bench import crowd, history, proof
from bench.crowd import Crowd, Told
from bench.lab import Lab, Row, median
from bench.postgres import Server, server
from bench.process import say
from bench.work import Plain

PROCESSES, THREADS = 4, 5  # 20 connections that are never idle: as many as 1,000 slots use at a time
EMPTY, PLAIN = "itself, no history", "plain SKIP LOCKED table"
_PLAIN_JOBS = """
INSERT INTO plain (priority, state, payload)
SELECT mod(hashint4(n) & 1048575, 5), 'pending', repeat('x', 200) FROM generate_series(1, {waiting}) AS n
"""


@dataclass
class Side:
    """A database, and what became of it in each round."""

    name: str
    url: str
    plain: bool = False
    told: list[Told] = field(default_factory=list)
    wal: list[float] = field(default_factory=list)  # bytes of the server's log for each heartbeat
    cpu: list[tuple[float, float]] = field(default_factory=list)  # ms for each job: this side's, the server's
    job_wal: list[float] = field(default_factory=list)  # bytes of the log for each job with one heartbeat

    def median(self, figure: str) -> float:
        """The middle one of a figure of ``Told``."""
        return median([getattr(told, figure) for told in self.told])

    def milliseconds(self, step: str, part: float) -> float:
        """A quantile of how long a step took, in all rounds."""
        took = sorted(each for told in self.told for each in told.took[step])
        return took[int(part * (len(took) - 1))]


def measure(lab: Lab) -> list[Row]:
    """Claims per second with and without a million finished jobs, and beside a table that is only a queue."""
    slots, waiting, finished = lab.of(1_000, 40), lab.of(100_000, 5_000), lab.of(1_000_000, 5_000)
    with server() as postgres:
        sides = _sides(postgres, waiting, finished)
        lab.turns(
            f"claims/s of {slots:,} slots",
            [lambda side=side: _round(lab, postgres, side, slots) for side in sides],  # type: ignore[misc]
        )
    ours, empty, plain = sides
    for side in sides:
        _explain(side)
    what = f"of {slots:,} slots, {waiting:,} jobs waiting, {finished:,} finished"
    rows = [
        Row(f"claims {what}", "per s", "more", ours.median("turned"), side.name, side.median("turned"))
        for side in (empty, plain)
    ]
    rows += [
        Row(f"claim {what}: {name}", "ms", "less", ours.milliseconds("claim", part), side.name,
            side.milliseconds("claim", part))
        for name, part in (("p50", 0.5), ("p99", 0.99)) for side in (empty, plain)
    ]  # fmt: skip
    rows += [
        Row(f"heartbeats {what}", "per s", "more", ours.median("beaten"), side.name, side.median("beaten"))
        for side in (empty, plain)
    ]
    return [*rows, Row("a heartbeat in the log", "bytes", "less", median(ours.wal), PLAIN, median(plain.wal))]


def _sides(postgres: Server, waiting: int, finished: int) -> list[Side]:
    chunks = finished * history.CHUNKS
    records = finished * sum(history.RECORDS.values())
    sides = []
    for name, plain, before in (("itself", False, finished), (EMPTY, False, 0), (PLAIN, True, 0)):
        database = f"side{len(sides)}"
        url = postgres.create(database)
        if plain:
            filling = _PLAIN_JOBS.format(waiting=waiting)
            postgres.execute(Plain.TABLE, filling, "VACUUM ANALYZE", "CHECKPOINT", name=database)
        else:
            took = history.fill(postgres, database, waiting, before)
            say(f"{waiting:,} jobs wait, {before:,} have finished: {took:.0f} s")
        sides.append(Side(name, url, plain))
    say(f"{finished:,} finished jobs with {records:,} records have {chunks:,} rows of chunks")
    return sides


def _round(lab: Lab, postgres: Server, side: Side, slots: int) -> float:
    """Claims per second; the crowd's work is checked."""
    seconds = lab.of(6, 1)
    one = Crowd(side.url, slots, PROCESSES, THREADS, seconds, seconds / 2, side.plain, not side.plain)
    crowd.use(side.url)
    since = 0 if side.plain else proof.newest_event()
    told, seen = crowd.let_work(one, postgres.look)
    side.told.append(told)
    side.wal.append((seen[2].wal - seen[1].wal) / max(told.beaten * seconds / 2, 1))
    faults = proof.faults(told) | ({} if side.plain else proof.faults_of_rows(told, since))
    if faults or seen[2].deadlocks:
        raise RuntimeError(f"{side.name}: {faults}, {seen[2].deadlocks} deadlocks")
    claims = told.turned * seconds
    side.job_wal.append((seen[1].wal - seen[0].wal) / claims)
    side.cpu.append((told.cpu / claims * 1000, (seen[1].cpu - seen[0].cpu) / claims * 1000))
    return told.turned


def _explain(side: Side) -> None:
    ours, theirs = (median(figures) for figures in zip(*side.cpu, strict=True))
    say(f"{side.name}: processor time of a job: {ours:.2f} ms here, {theirs:.2f} ms in the server")
    say(f"{side.name}: a job in the log: {median(side.job_wal):,.0f} bytes")
    for step in side.told[0].took:
        middle, late = side.milliseconds(step, 0.5), side.milliseconds(step, 0.99)
        say(f"{side.name}: {step}: {middle:.2f} ms, p99 {late:.2f} ms")
