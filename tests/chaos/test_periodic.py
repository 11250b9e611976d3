"""Two schedulers, and kill -9 between firing and scheduling: one run and its job for each fire time, none lost."""

import itertools
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.db import make_engine
from app.services import periodic, plans, projects
from tests.platform import CRAWLDOCK, ROOT, Platform, until

PROJECT = 77
GATE = 4242  # of the advisory lock that a firing has to pass between its run and its jobs
TRIGGER = f"""
CREATE FUNCTION pass_gate() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END $$;
CREATE TRIGGER gate AFTER INSERT ON periodic_run FOR EACH ROW EXECUTE FUNCTION pass_gate();
"""
AT_THE_GATE = """
SELECT application_name FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()
"""
_number = itertools.count()


class Schedulers:
    """A platform and a second scheduler beside it, on one database; each has a name there."""

    def __init__(self, platform: Platform, engine: Engine) -> None:
        self.platform = platform
        self.engine = engine
        self.second: subprocess.Popen[bytes] | None = None

    def start_second(self) -> None:
        env = self.platform.env | {"REDIS_URL": self.platform.broker(), "PGAPPNAME": "second"}
        self.second = subprocess.Popen([*CRAWLDOCK, "scheduler"], cwd=ROOT, env=env, start_new_session=True)
        until(lambda: self.sql("SELECT count(*) FROM worker WHERE kind = 'scheduler'")[0][0] >= 2, 60)

    def first(self) -> Any:
        """The scheduler's main process of the platform, which starts another one when it dies."""
        return self.platform.part_or_none("scheduler")

    def kill(self, *names: str) -> None:
        """kill -9, all at once; there are two again when this is over."""
        victim = until(self.first, 20) if "first" in names else None
        if victim is not None:
            victim.kill()
        if "second" in names:
            assert self.second is not None
            self.second.kill()
            self.second.wait()
            self.start_second()
        if victim is not None:
            until(lambda: self.first() not in (None, victim), 20)

    def stop(self) -> None:
        if self.second is not None:
            self.second.terminate()
            self.second.wait(20)

    def sql(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.execution_options(writes=True).begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    def schedules(self, count: int) -> dict[int, int]:
        """New schedules, due at once; the fire time of each."""
        made: dict[int, int] = {}
        self.begun = max([fire_time for _, fire_time, _ in self.runs()], default=0)
        with Session(self.engine.execution_options(writes=True)) as session:
            for _ in range(count):
                spider = {"name": "held", "args": {"n": next(_number)}}
                plan = plans.parse({"cron": "0 0 1 1 *", "spiders": [spider]})
                periodic_id = periodic.create(session, PROJECT, plan, "admin")
                made[periodic_id] = int(time.time()) * 1000 - 1000 + periodic_id
            for periodic_id, fire_time in made.items():
                due = {"id": periodic_id, "time": fire_time}
                session.execute(
                    text("UPDATE periodic_job SET next_time = :time, due_time = :time WHERE id = :id"), due
                )
            session.commit()
        return made

    def runs(self) -> list[tuple[int, int, str]]:
        """Schedule, fire time and state of all runs."""
        return [tuple(row) for row in self.sql("SELECT periodic_id, fire_time, state FROM periodic_run")]

    def just_begun(self) -> bool:
        """Have some of the schedules been fired, and others not?"""
        return bool(self.sql("SELECT 1 FROM periodic_run WHERE fire_time > :since LIMIT 1", since=self.begun))

    def scheduled(self) -> dict[str, int]:
        """How many jobs each schedule has made."""
        return dict(self.sql("SELECT scheduled_by, count(*) FROM job GROUP BY scheduled_by"))  # type: ignore[arg-type]

    def check(self, made: dict[int, int]) -> None:
        """Each fire time has one run, and each run its one job; all have moved on."""
        until(lambda: len(self.runs()) >= len(made), 60)
        assert sorted(self.runs()) == sorted((one, fire_time, "started") for one, fire_time in made.items())
        assert self.scheduled() == {f"periodic job {one}": 1 for one in made}
        late = "SELECT count(*) FROM periodic_job WHERE next_time < :now"
        assert self.sql(late, now=int(time.time()) * 1000)[0][0] == 0


@contextmanager
def schedulers(folder: Path, url: str | None) -> Iterator[Schedulers]:
    database = {} if url is None else {"DATABASE_URL": url}
    with Platform(folder, CRAWLDOCK_SLOTS="1", PGAPPNAME="first", **database) as platform:
        engine = make_engine(url or f"sqlite:///{folder / 'data' / 'crawldock.db'}")
        both = Schedulers(platform, engine)
        try:
            with Session(engine.execution_options(writes=True)) as session:
                projects.create(session, "one", PROJECT)
                # No version has it: its jobs stay where they are.
                projects.declare(session, PROJECT, "held")
                session.commit()
            both.start_second()
            yield both
        finally:
            both.stop()
            engine.dispose()


def test_killed_between_firing_and_scheduling(tmp_path: Path, postgres_url: str) -> None:
    """Each round, whoever fires is held right after it has inserted the run, and killed there."""
    with schedulers(tmp_path, postgres_url) as both:
        both.sql(TRIGGER)
        made: dict[int, int] = {}
        for victims in range(3):
            gate = both.engine.connect()
            gate.execute(text(f"SELECT pg_advisory_lock({GATE})"))
            made |= both.schedules(1)
            (name,) = until(lambda: {row[0] for row in both.sql(AT_THE_GATE)}, 30)
            both.kill(name)
            assert (len(both.runs()), sum(both.scheduled().values())) == (victims, victims)
            gate.invalidate()  # the session ends, and its lock with it
            gate.close()
            both.check(made)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_killed_at_any_moment(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """Both schedulers die while many schedules are fired, again and again."""
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else None
    with schedulers(tmp_path, url) as both:
        made: dict[int, int] = {}
        for _ in range(3):
            made |= both.schedules(60)
            until(both.just_begun, 30, pause=0.01)
            both.kill("first", "second")
            both.check(made)
