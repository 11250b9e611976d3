"""docker-compose.yml, really built and brought up: what it promises holds while containers are killed and restarted.

Run by `make test-compose`; needs an engine with Compose, and curl. Everything it makes has a name of its
own and is removed at the end.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("postgres", "redis", "api", "scheduler", "worker")
PAGES = 20  # of one crawl; each page gives one item
SLOW = 0.5  # seconds that a page takes
# An empty env file: a developer's own .env must not leak into the test.
FILES = ("-f", "docker-compose.yml", "-f", "tests/compose/compose.test.yml")
COMPOSE = ("docker", "compose", "--env-file", os.devnull, *FILES)

pytestmark = pytest.mark.timeout(1800)  # the first test waits for the image

Job = dict[str, Any]


def attempt(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=env, check=False, capture_output=True, text=True, timeout=900
    )


def run(*command: str, env: dict[str, str] | None = None) -> str:
    done = attempt(*command, env=env)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def until(what: str, seconds: float, look: Callable[[], object]) -> None:
    """Wait for a true answer of ``look``; what is just being restarted gives none, or 503."""
    deadline = time.monotonic() + seconds
    seen: object = None
    while time.monotonic() < deadline:
        try:
            if seen := look():
                return
        except httpx.TransportError as error:
            seen = error
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 503:
                raise
            seen = error
        time.sleep(0.5)
    pytest.fail(f"not in {seconds:.0f} s: {what} (last seen: {seen!r})")


class Stack:
    """A platform of its own name, port and secrets, one slot to a worker."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.key = secrets.token_hex(16)
        self.secrets = {
            "CRAWLDOCK_API_KEY": self.key,
            "POSTGRES_PASSWORD": secrets.token_hex(16),
            "REDIS_PASSWORD": secrets.token_hex(16),
        }
        self.env = os.environ | self.secrets
        self.env |= {
            "COMPOSE_PROJECT_NAME": f"crawldock-test-{secrets.token_hex(4)}",
            "CRAWLDOCK_IMAGE": "crawldock-test",
            "CRAWLDOCK_PORT": str(self.port),
            "CRAWLDOCK_SLOTS": "1",
        }
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(
            base_url=f"{self.url}/api/", auth=(self.key, ""), timeout=30, trust_env=False
        )
        self.scheduled = 0

    def compose(self, *args: str) -> str:
        return run(*COMPOSE, *args, env=self.env)

    def up(self, workers: int = 1) -> None:
        self.compose("up", "-d", "--quiet-pull", "--scale", f"worker={workers}")
        self.healthy()

    def healthy(self) -> None:
        health = httpx.URL(self.url).join("/health")
        until("GET /health answers 200", 180, lambda: self.http.get(health).status_code == 200)

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def schedule(self, pages: int = PAGES, delay: float = SLOW) -> str:
        self.scheduled += 1  # equal arguments would be refused while the first job lives
        answer = self.http.post(
            "schedule.json",
            data={
                "project": 123,
                "spider": "somespider",
                "start_url": f"http://pages:8080/{pages}/{delay}/0",
                "number": self.scheduled,
            },
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["jobid"])

    def get(self, path: str, **params: Any) -> str:
        answer = self.http.get(path, params={"project": 123, **params})
        return answer.raise_for_status().text

    def jobs(self, *keys: str, state: str | None = None) -> list[Job]:
        only = {"state": state} if state else {}
        return list(json.loads(self.get("jobs/list.json", job=keys, count=1000, **only))["jobs"])

    def items(self, key: str) -> list[Job]:
        return [json.loads(line) for line in self.get("items.jl", job=key).splitlines()]

    def crawling(self, *keys: str) -> None:
        """Wait until each of the jobs has produced something."""
        until(f"{keys} have items", 120, lambda: all(self.items(key) for key in keys))

    def ended(self, *keys: str, seconds: float = 180) -> dict[str, Job]:
        """Wait until all of the jobs have ended; each has exactly one outcome, and no item twice."""
        until(f"{keys} end", seconds, lambda: len(self.jobs(*keys, state="finished")) >= len(keys))
        jobs = self.jobs(*keys)
        assert sorted(job["id"] for job in jobs) == sorted(keys)
        assert all(job["state"] == "finished" and job["close_reason"] for job in jobs), jobs
        for job in jobs:
            urls = [item["url"] for item in self.items(job["id"])]
            assert len(urls) == len(set(urls)) == job["items_scraped"]
        return {job["id"]: job for job in jobs}

    def complete(self, job: Job, pages: int = PAGES) -> bool:
        return bool(job["close_reason"] == "finished" and job["items_scraped"] == pages)


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    if not shutil.which("docker") or attempt("docker", "info").returncode != 0:
        pytest.exit(
            "no container engine answers: `docker info` fails here. Start one and try again.", returncode=1
        )
    stack, ready = Stack(), False
    try:
        stack.compose("build", "--quiet", "api")
        stack.up()
        stack.compose("exec", "-T", "api", "crawldock", "deploy-example")
        ready = True
        yield stack
    finally:
        if request.session.testsfailed or not ready:
            for command in (["ps", "-a"], ["logs", "--no-color", "--tail", "100"]):
                print(attempt(*COMPOSE, *command, env=stack.env).stdout)
        stack.compose("down", "-v", "--remove-orphans", "--timeout", "10")
        stack.http.close()


@pytest.mark.parametrize("name", ["CRAWLDOCK_API_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"])
def test_nothing_starts_without_a_secret(stack: Stack, name: str) -> None:
    env = {key: value for key, value in stack.env.items() if key != name}
    refused = attempt(*COMPOSE, "up", "--no-start", env=env)
    assert refused.returncode != 0
    assert f"required variable {name} is missing a value: set it in .env" in refused.stderr


def test_containers_are_fenced_in(stack: Stack) -> None:
    assert stack.compose("port", "api", "8000").strip() == f"127.0.0.1:{stack.port}"
    for service in ("api", "worker", "scheduler"):
        look = "id -u; cat /proc/1/comm; touch /opt/crawldock/app/x 2>&1 || echo refused"
        user, init, *_, touch = stack.compose("exec", "-T", service, "sh", "-c", look).splitlines()
        assert (user, touch) == ("1000", "refused")
        assert init in ("docker-init", "tini"), "something has to reap what spiders leave behind"
    published = [line for line in stack.compose("ps", "--format", "{{.Ports}}").splitlines() if "->" in line]
    assert len(published) == 1, published


def test_broker_refuses_rather_than_evicts(stack: Stack) -> None:
    told = stack.compose("exec", "-T", "redis", "redis-cli", "config", "get", "maxmemory-policy")
    assert "noeviction" in told


def test_curl_calls(stack: Stack) -> None:
    def curl(path: str, *args: str) -> str:
        return run("curl", "-fsS", "--noproxy", "*", "-u", f"{stack.key}:", *args, f"{stack.url}/api/{path}")

    project = ("-d", "project=123", "-d", "spider=somespider")
    quick = json.loads(
        curl("schedule.json", *project, "-d", "add_tag=t", "-d", f"start_url=http://pages:8080/{PAGES}/0/0")
    )
    assert quick["status"] == "ok"
    job = quick["jobid"]
    assert stack.complete(stack.ended(job)[job])
    listed = json.loads(curl("jobs/list.json?project=123&spider=somespider&state=finished&has_tag=t"))
    assert [found["id"] for found in listed["jobs"]] == [job]
    assert len(curl(f"items.jl?project=123&job={job}").splitlines()) == PAGES
    assert "Spider closed (finished)" in curl(f"log.jl?project=123&job={job}")

    slow = json.loads(curl("schedule.json", *project, "-d", "start_url=http://pages:8080/600/0.5/0"))["jobid"]
    stack.crawling(slow)
    assert json.loads(curl("jobs/stop.json", "-d", "project=123", "-d", f"job={slow}")) == {"status": "ok"}
    assert stack.ended(slow, seconds=30)[slow]["close_reason"] == "cancelled"


def test_three_workers_share_the_jobs(stack: Stack) -> None:
    stack.up(workers=3)
    keys = [stack.schedule() for _ in range(5)]
    # One slot each: three at once means three workers.
    until("three jobs run at once", 60, lambda: len(stack.jobs(state="running")) == 3)
    assert all(stack.complete(job) for job in stack.ended(*keys).values())


def test_a_killed_worker_loses_its_own_job_only(stack: Stack) -> None:
    stack.up(workers=3)
    long = 2 * PAGES  # nothing else may end while the worker is killed
    keys = [stack.schedule(long) for _ in range(5)]
    until("three jobs run", 60, lambda: len(stack.jobs(state="running")) == 3)
    stack.crawling(*(job["id"] for job in stack.jobs(state="running")))
    run("docker", "kill", stack.containers("worker")[0])

    jobs = stack.ended(*keys)
    lost = [job for job in jobs.values() if not stack.complete(job, long)]
    assert len(lost) == 1, jobs
    assert lost[0]["close_reason"] == "worker lost"
    # The outcome stands: neither a second owner nor the returning worker writes another one.
    stack.up(workers=3)
    time.sleep(10)
    for key, job in stack.ended(*keys).items():
        assert job["close_reason"] == jobs[key]["close_reason"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_restart_of_one_service(stack: Stack, service: str) -> None:
    stack.up(workers=1)
    running, waiting = stack.schedule(), stack.schedule()
    stack.crawling(running)
    if service == "redis":  # whatever the broker holds may be lost: the worst restart of all
        stack.compose("exec", "-T", "redis", "redis-cli", "flushall")
    stack.compose("restart", service)
    jobs = stack.ended(running, waiting)
    assert stack.complete(jobs[waiting])
    # Only the worker's own end stops a spider, and gently: it is not cut off, it closes.
    if service == "worker":
        assert jobs[running]["close_reason"] == "shutdown"
        assert "Spider closed" in stack.get("log.jl", job=running)
    else:
        assert stack.complete(jobs[running]), jobs[running]
    stack.healthy()


def test_a_restart_of_everything(stack: Stack) -> None:
    stack.up(workers=2)
    keys = [stack.schedule() for _ in range(4)]
    until("two jobs run", 60, lambda: len(stack.jobs(state="running")) == 2)
    stack.compose("restart", *SERVICES)
    jobs = stack.ended(*keys)
    assert sum(stack.complete(job) for job in jobs.values()) >= 2, "those that waited ran afterwards"


def test_volumes_outlive_the_containers(stack: Stack) -> None:
    stack.up(workers=1)
    key = stack.schedule(delay=0)
    stack.ended(key)
    jobs, items = [job["id"] for job in stack.jobs()], stack.items(key)
    stack.compose("down")
    stack.up(workers=1)
    assert [job["id"] for job in stack.jobs()] == jobs
    assert stack.items(key) == items
    again = stack.schedule(delay=0)  # the project is still deployed
    assert stack.complete(stack.ended(again)[again])
