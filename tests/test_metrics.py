"""/metrics: Prometheus' own parser reads it; for admin keys alone."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlmodel import col
from starlette.testclient import TestClient

from app import db
from app.metrics import quantile
from app.models import Job
from app.services import workers
from tests.factories import change, finished_job, make_job, make_key, running_job


def read(client: TestClient) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(answer.text))
    assert all(family.documentation for family in families)
    return {
        (sample.name.removeprefix("crawldock_"), *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }  # fmt: skip


def test_an_idle_platform_is_all_noughts(client: TestClient) -> None:
    found = read(client)
    assert {"queue_depth", "jobs_running", "free_slots", "schedules_overdue", "deliveries_pending"} <= {
        name for name, *_ in found
    }
    assert set(found.values()) == {0}


def test_what_there_is_is_told(client: TestClient) -> None:
    with db.transaction() as session:
        workers.seen(session, "w@host", workers.WORKER, 4)
    job = running_job()
    change(job.key, pending_time=col(Job.state_time) - 1_500, running_time=col(Job.state_time))
    make_job(priority=3)
    change(finished_job(), close_reason='odd "words"\n')
    found = read(client)
    assert found["queue_depth", "3"] == 1
    assert found["jobs_running",] == 1
    assert found["jobs_finished_lately", 'odd "words"\n', "1h"] == 1
    assert found["start_latency_seconds", "0.5"] == 1.5
    assert found["worker_slots", "w@host"] == 4
    assert found["free_slots",] == 3
    assert found["process_silent_seconds", "worker", "w@host"] < 60


def test_it_is_for_administrators(client: TestClient) -> None:
    for auth, status in ((None, 401), (("f" * 32, ""), 401), ((make_key(projects=[1]), ""), 403)):
        client.auth = auth
        answer = client.get("/metrics")
        assert answer.status_code == status
        assert "crawldock_" not in answer.text
    client.auth = None
    assert client.get("/metrics").headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(("part", "value"), [(0.5, 6), (0.9, 10), (0.99, 10)])
def test_quantiles(part: float, value: int) -> None:
    assert quantile(range(1, 11), part) == value
