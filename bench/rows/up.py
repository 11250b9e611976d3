"""How long does `make up` take on an installed platform, until it is healthy?"""

import time
from pathlib import Path

from bench import crawldock
from bench.lab import Lab, Row, median
from bench.peer import scrapyd
from bench.process import Child, free_port
from bench.stack import ROOT


def measure(lab: Lab) -> list[Row]:
    """With data of an earlier run, and in an empty folder."""
    kept = lab.place("up")
    _seconds(kept)

    def peer() -> float:
        began = time.perf_counter()
        with scrapyd(lab.place("scrapyd"), deploy=False):
            return time.perf_counter() - began

    sides = [lambda: _seconds(kept), lambda: _seconds(lab.place("up")), peer]
    again, fresh, theirs = lab.turns("up", sides, lab.of(5, 1))
    return [
        Row(what, "s", "less", median(mine), "scrapyd's first answer", median(theirs))
        for what, mine in (("make up, data is there", again), ("make up, first start", fresh))
    ]


def _seconds(folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    port = free_port()
    began = time.perf_counter()
    command = ["make", "--silent", "-C", str(ROOT), "up"]
    with Child(command, folder=folder, env=crawldock.environment(folder, port), grace=40) as up:
        up.ready(f"http://127.0.0.1:{port}/health")
        return time.perf_counter() - began
