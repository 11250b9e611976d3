"""/metrics: the platform's state for Prometheus, asked of the database at each call; for admin keys."""

from collections.abc import Iterable, Iterator, Sequence

from fastapi import Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session
from starlette.responses import PlainTextResponse, Response

from app.auth import authenticate, basic
from app.db import reading
from app.errors import NotAuthenticated
from app.services import metrics, workers

QUANTILES = (0.5, 0.9, 0.99)


def answer(request: Request) -> Response:
    """The metrics in Prometheus' text form."""
    key, _ = basic(request.headers.get("authorization")) or (None, "")
    with reading() as session:
        try:
            principal = authenticate(session, key)
        except NotAuthenticated as stranger:
            return PlainTextResponse(f"{stranger}\n", 401, {"WWW-Authenticate": 'Basic realm="Crawldock"'})
        if not principal.admin:
            return PlainTextResponse("an admin key is needed: this tells of all projects\n", 403)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Platform(session))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def quantile(values: Sequence[int], part: float) -> float:
    """The value that ``part`` of the ascending values do not exceed."""
    return values[min(int(part * len(values)), len(values) - 1)]


class Platform(Collector):
    """The state of the platform as the database has it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def collect(self) -> Iterator[Metric]:
        """All metrics; the registry calls it once for each answer."""
        yield from self._jobs()
        yield from self._processes()
        yield from self._schedules()
        yield from self._deliveries()

    def _jobs(self) -> Iterator[Metric]:
        capped = f"at most {metrics.MOST} are counted"
        yield _gauge(
            "queue_depth", f"Pending jobs by priority; of each {capped}.", ["priority"],
            (((str(priority),), count) for priority, count in metrics.queue(self._session).items()),
        )  # fmt: skip
        running = metrics.running(self._session)
        yield _gauge("jobs_running", f"Running jobs; {capped}.", [], [((), running)])
        ended = metrics.finished(self._session)
        yield _gauge(
            "jobs_finished_lately",
            f"Jobs finished within a window, by outcome; of the newest {metrics.MOST_FINISHED}.",
            ["window", "outcome"],
            [
                *((("1h", outcome), hour) for outcome, hour, _ in ended),
                *((("1d", outcome), day) for outcome, _, day in ended),
            ],
        )
        waited = metrics.start_latencies(self._session)
        yield _gauge(
            "start_latency_seconds", "From pending to running, of starts within 15 minutes.", ["quantile"],
            (((str(part),), quantile(waited, part) / 1000) for part in QUANTILES if waited),
        )  # fmt: skip
        yield _gauge("jobs_started_lately", "How many start_latency_seconds is of.", [], [((), len(waited))])

    def _processes(self) -> Iterator[Metric]:
        rows = metrics.processes(self._session)
        yield _gauge(
            "process_silent_seconds", "Since a process was last heard of.", ["kind", "name"],
            (((row.kind, row.name), max(row.silent, 0) / 1000) for row in rows),
        )  # fmt: skip
        yield _gauge(
            "worker_slots", "Jobs that a worker runs at once.", ["name"],
            (((row.name,), row.slots) for row in rows if row.kind == workers.WORKER),
        )  # fmt: skip
        free = workers.free_slots(self._session)
        yield _gauge("free_slots", "Slots of living workers that run nothing.", [], [((), free)])

    def _schedules(self) -> Iterator[Metric]:
        late = metrics.overdue(self._session)
        yield _gauge(
            "schedules_overdue",
            f"Enabled schedules that did not run within two minutes; at most {metrics.MOST_OVERDUE}.",
            [],
            [((), len(late))],
        )
        yield _gauge(
            "schedule_overdue_seconds", "Since a schedule should have run.", ["project", "schedule"],
            (((str(row.project_id), str(row.id)), row.late / 1000) for row in late),
        )  # fmt: skip
        yield _gauge(
            "periodic_runs_lately", "Fire times of the last day that were missed or failed.", ["state"],
            (((state,), count) for state, count in metrics.runs_gone_wrong(self._session).items()),
        )  # fmt: skip

    def _deliveries(self) -> Iterator[Metric]:
        waiting, failed = metrics.waiting_deliveries(self._session), metrics.failed_deliveries(self._session)
        yield _gauge("deliveries_pending", "Webhook calls that are still to be made.", [], [((), waiting)])
        yield _gauge(
            "deliveries_failed_lately", "Webhook calls given up within the last day.", [], [((), failed)]
        )


def _gauge(
    name: str, words: str, labels: list[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"crawldock_{name}", words, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family
