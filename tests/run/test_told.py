"""A real run, as those are told who watch: by webhook and by stream."""

from sqlalchemy.orm import Session

from app.db import make_engine
from app.services import webhooks
from tests.platform import Platform, until
from tests.receiver import Receiver


def test_a_run_is_told_as_it_goes(platform: Platform) -> None:
    project = platform.deploy()
    with Receiver() as receiver:
        engine = make_engine(f"sqlite:///{platform.folder / 'data' / 'crawldock.db'}")
        with Session(engine.execution_options(writes=True)) as session:
            _, secret = webhooks.create(session, project, f"{receiver.url}/", (), "admin")
            session.commit()
        engine.dispose()
        with platform.http.stream("GET", "events.sse", params={"project": project, "last": 0}) as answer:
            job = platform.run(project, "three")
            lines = answer.iter_lines()
            seen = []
            while "event: job:completed" not in seen:
                seen.append(next(lines))
        assert [line for line in seen if line.startswith("event: job")] == [
            "event: job:scheduled", "event: job:started", "event: job:completed",
        ]  # fmt: skip
        until(lambda: len(receiver.got) >= 3)
        told = {body["event"]: body for body in (each.verified(secret) for each in receiver.got)}
    assert told.keys() == {"job:scheduled", "job:started", "job:completed"}
    assert told["job:completed"]["summary"]["items"] == job["items_scraped"] == 3
