"""How many jobs can be scheduled per second, while none is run?"""

from functools import partial

from bench import postgres
from bench.crawldock import api_alone, copy_database, platform
from bench.lab import Lab, Row, median
from bench.load import per_second
from bench.peer import NEVER, scrapyd
from bench.target import Target


def measure(lab: Lab) -> list[Row]:
    """Requests per second of one client and of sixteen, on either database."""
    seconds = lab.of(4, 1)
    folder, second = lab.place("schedule"), lab.place("postgres")
    second.mkdir()
    with platform(folder):
        pass  # migrated and deployed; the next ones find the spider
    with postgres.server() as server:
        server.execute("CREATE DATABASE schedules")
        url = server.url("schedules")
        copy_database(folder, url)
        with (
            api_alone(folder) as ours,
            api_alone(second, url) as other,
            scrapyd(lab.place("scrapyd"), poll=NEVER) as peer,
        ):
            sides: dict[str, Target] = {"SQLite": ours, "PostgreSQL": other, peer.name: peer}
            rows = []
            for clients in (1, 16):
                calls = [partial(per_second, side.schedules(), clients=clients) for side in sides.values()]
                for warm_up in calls:
                    warm_up(seconds=0.5)
                what = f"schedule.json, {clients} client{'s' if clients > 1 else ''}"
                figures = lab.turns(what, [partial(call, seconds=seconds) for call in calls])
                *mine, theirs = map(median, figures)
                for database, figure in zip(sides, mine, strict=False):
                    rows.append(Row(f"{what}, {database}", "1/s", "more", figure, peer.name, theirs))
    return rows
