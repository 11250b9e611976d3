"""How many jobs can be scheduled per second, while none is run?"""

from functools import partial

from bench.crawldock import api_alone, platform
from bench.lab import Lab, Row, median
from bench.load import per_second
from bench.peer import NEVER, scrapyd
from bench.target import Target


def measure(lab: Lab) -> list[Row]:
    """Requests per second of one client and of sixteen."""
    seconds = lab.of(4, 1)
    folder = lab.place("schedule")
    with platform(folder):
        pass  # migrated and deployed; the next one finds the spider
    with api_alone(folder) as ours, scrapyd(lab.place("scrapyd"), poll=NEVER) as peer:
        pair: list[Target] = [ours, peer]
        rows = []
        for clients in (1, 16):
            sides = [partial(per_second, side.schedules(), clients=clients) for side in pair]
            for warm_up in sides:
                warm_up(seconds=0.5)
            what = f"schedule.json, {clients} client{'s' if clients > 1 else ''}"
            mine, theirs = lab.turns(what, [partial(side, seconds=seconds) for side in sides])
            rows.append(Row(what, "1/s", "more", median(mine), peer.name, median(theirs)))
    return rows
