"""How many small jobs pass through two slots per minute?"""

import itertools
import time

from bench.crawldock import platform
from bench.lab import Lab, Row, median
from bench.peer import scrapyd
from bench.process import wait_until
from bench.target import Target

SLOTS = 2
_numbers = itertools.count()


def measure(lab: Lab) -> list[Row]:
    """Jobs per minute of the three-item spider, from the first request to the last job's end."""
    count = lab.of(48, 4)  # so many that neither the first and last of them nor the polling below count
    with (
        platform(lab.place("jobs"), slots=SLOTS) as ours,
        scrapyd(lab.place("scrapyd"), slots=SLOTS, poll=0.1) as peer,
    ):

        def rate(target: Target, count: int = count) -> float:
            wanted = target.finished() + count
            began = time.perf_counter()
            for _ in range(count):
                target.schedule("three", {"n": str(next(_numbers))})
            ended = wait_until(
                f"end of {count} jobs",
                lambda: target.finished() >= wanted,
                seconds=60 + 10 * count,
                every=0.1,
            )
            return count / (ended - began) * 60

        rate(ours, SLOTS)
        rate(peer, SLOTS)
        what = f"three-item jobs, {SLOTS} slots"
        mine, theirs = lab.turns(what, [lambda: rate(ours), lambda: rate(peer)])
    return [Row(what, "1/min", "more", median(mine), f"{peer.name}, poll 0.1 s", median(theirs))]
