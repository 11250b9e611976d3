"""How long does an idle platform take from the request to the spider's first log line?"""

import itertools
import random
import time
from functools import partial
from statistics import quantiles

from bench.crawldock import platform
from bench.lab import Lab, Row, median
from bench.peer import scrapyd
from bench.process import wait_until
from bench.target import Target

POLLS = (0.1, 5.0)  # scrapyd at its fastest, and as it comes
_numbers = itertools.count()


def measure(lab: Lab) -> list[Row]:
    """Medians of starts that take turns, and the p99 of a hundred of ours beside the peer's longest."""
    rows = []
    with platform(lab.place("start"), slots=2) as ours:
        for poll in POLLS:
            with scrapyd(lab.place("scrapyd"), slots=2, poll=poll) as peer:
                _seconds(ours)
                _seconds(peer)
                name = f"{peer.name}, poll {poll:g} s"
                sides = [partial(_seconds, ours), partial(_seconds, peer)]
                mine, theirs = lab.turns(f"first log line ({name})", sides, lab.of(9, 2))
            rows.append(Row("first log line, median", "s", "less", median(mine), name, median(theirs)))
            mine += [_seconds(ours) for _ in range(lab.of(100, 3) - len(mine))]
            p99 = quantiles(mine, n=100, method="inclusive")[98]
            rows.append(Row("first log line, p99 (peer: longest)", "s", "less", p99, name, max(theirs)))
    return rows


def _seconds(target: Target) -> float:
    ended = target.finished() + 1
    time.sleep(0.3 + random.random())  # any point of the other's poll interval
    began = time.perf_counter()
    job = target.schedule("three", {"n": str(next(_numbers))})
    logged = wait_until("log line", lambda: target.logged(job), seconds=60, every=0.02)
    wait_until("end", lambda: target.finished() >= ended, seconds=60, every=0.1)
    return logged - began
