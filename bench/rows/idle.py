"""What does a platform that stands still cost: memory of all its processes, and processor time?"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from bench.crawldock import Crawldock, platform
from bench.lab import MARK, Lab, Row, median
from bench.peer import scrapyd
from bench.process import wait_until

FEW, MANY = 2, 6  # slots
SETTLE_SECONDS = 3.0


@dataclass
class Cost:
    """MB, each page counted once (PSS) and for each process that has it (RSS); percent of one core."""

    pss: float
    rss: float
    cpu: float


def measure(lab: Lab) -> list[Row]:
    """Each platform is started anew; with few slots also after a job, when a template waits for more."""
    seconds = float(lab.of(20, 3))
    few, many, warm, peers = [], [], [], []

    def ours(slots: int, into: list[Cost]) -> Callable[[], float]:
        def side() -> float:
            with platform(lab.place("idle"), slots=slots) as server:
                into.append(_cost(server.pid, seconds))
                if slots == FEW:
                    _run_one(server)
                    warm.append(_cost(server.pid, 1.0))
            return into[-1].pss

        return side

    def peer() -> float:
        with scrapyd(lab.place("scrapyd"), slots=FEW, poll=5.0) as server:
            peers.append(_cost(server.pid, seconds))
        return peers[-1].pss

    lab.turns("idle, PSS in MB", [ours(FEW, few), ours(MANY, many), peer])
    rows = []
    for unit, of in (("MB (PSS)", _pss), ("MB (RSS)", _rss)):
        small, large = median([*map(of, few)]), median([*map(of, many)])
        theirs = median([*map(of, peers)])
        rows += [
            Row(f"idle, {FEW} slots", unit, "less", small, "scrapyd", theirs),
            Row(f"idle, {FEW} slots, after a job", unit, "less", median([*map(of, warm)]), "scrapyd", theirs),
            Row("a further idle slot", unit, "less", (large - small) / (MANY - FEW), MARK, 60),
        ]
    busy, theirs = median([each.cpu for each in few]), median([each.cpu for each in peers])
    return [*rows, Row(f"idle, {FEW} slots", "% of a core", "less", busy, "scrapyd, poll 5 s", theirs)]


def _pss(cost: Cost) -> float:
    return cost.pss


def _rss(cost: Cost) -> float:
    return cost.rss


def _run_one(server: Crawldock) -> None:
    job = server.new_job()
    wait_until("end", lambda: server.state(job) == "finished", seconds=60, every=0.1)


def _cost(pid: int, seconds: float) -> Cost:
    """Of a process and all its descendants, once they are at rest."""
    time.sleep(SETTLE_SECONDS)
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    before = sum(map(_worked, family))
    time.sleep(seconds)
    cpu = (sum(map(_worked, family)) - before) / seconds * 100
    pss = rss = 0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile, or is a zombie
            memory = process.memory_full_info()
            pss, rss = pss + memory.pss, rss + memory.rss
    return Cost(pss / 1e6, rss / 1e6, cpu)


def _worked(process: psutil.Process) -> float:
    """Processor seconds of a process; none when it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
