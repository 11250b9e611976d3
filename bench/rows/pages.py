"""Do the pages of the dashboard stay as fast when there are a thousand times more jobs?"""

import time
from functools import partial

import httpx

from bench.crawldock import KEY, PROJECT, Crawldock, api_alone, platform
from bench.lab import Lab, Row, median
from bench.process import wait_until
from bench.stock import carry_out, fill, sqlite

FEW = 1_000
WAITING = 50_000  # of the jobs, where there are a million: they wait
# Some outcomes that are not the usual one, a tag that many have and one that few have.
VARIED = (
    "UPDATE job SET close_reason = 'cancelled' WHERE number % 10 = 0",
    "UPDATE job SET close_reason = 'oom', errors = 3 WHERE number % 5000 = 1",
    """UPDATE job SET spider_args = '{{"n"\\: "last"}}' WHERE id = (SELECT max(id) FROM job)""",
    """UPDATE job SET state = 'pending', close_reason = NULL, running_time = NULL, finished_time = NULL,
       duplicate_key = NULL, priority = number % 5 WHERE number > 1 AND number <= 1 + {waiting}""",
    "INSERT INTO job_tag SELECT id, 'tenth', 0 FROM job WHERE number % 10 = 0",
    "INSERT INTO job_tag SELECT id, 'oldest', 1 FROM job ORDER BY state_time LIMIT 100",
)
P = f"/p/{PROJECT}"
PAGES = {
    "projects": "/",
    "jobs": f"{P}/jobs",
    "jobs that wait": f"{P}/jobs?state=pending",
    "jobs by outcome": f"{P}/jobs?outcome=oom",
    "jobs by another outcome": f"{P}/jobs?outcome=%21finished",
    "jobs by spider": f"{P}/jobs?spider=three",
    "jobs by a common tag": f"{P}/jobs?tag=tenth",
    "jobs by a rare tag": f"{P}/jobs?tag=oldest",
    "jobs by an argument that few have": f"{P}/jobs?args=n%3Dlast",
    "the form that runs": f"{P}/run",
    "a job": "/p/{job}",
    "its items": "/p/{job}/items",
    "its requests": "/p/{job}/requests",
    "its log": "/p/{job}/log",
    "its stats": "/p/{job}/stats",
    "spiders": f"{P}/spiders",
    "a spider": f"{P}/spiders/{{spider}}",
    "deploys": f"{P}/deploys",
    "periodic jobs": f"{P}/periodic-jobs",
    "collections": f"{P}/collections",
    "activity": f"{P}/activity",
    "settings": f"{P}/settings",
    "webhooks": f"{P}/settings/webhooks",
    "workers": "/workers",
}


def measure(lab: Lab) -> list[Row]:
    """Milliseconds for each page; no peer has a million jobs, so the small platform is the peer."""
    many, requests = lab.of(1_000_000, 5_000), lab.of(10, 3)
    folders = lab.place("pages"), lab.place("pages")
    for folder, total in zip(folders, (many, FEW), strict=True):
        with platform(folder) as ours:
            job = ours.schedule("three", {})
            wait_until("end", partial(_ended, ours, job), seconds=60, every=0.1)
        fill(sqlite(folder), total)
        waiting = total * WAITING // 1_000_000
        carry_out(sqlite(folder), [statement.format(waiting=waiting) for statement in VARIED])
    rows = []
    with api_alone(folders[0]) as large, api_alone(folders[1]) as small:
        browsers = [_sign_in(side) for side in (large, small)]
        for name, place in PAGES.items():
            path = place.format(job=job, spider=job.split("/")[1])
            sides = [partial(_milliseconds, browser, path, requests) for browser in browsers]
            mine, theirs = lab.turns(f"page: {name}", sides)
            what = f"page of {many:,} jobs: {name}"
            rows.append(Row(what, "ms", "less", median(mine), f"itself, {FEW:,} jobs", median(theirs)))
    return rows


def _ended(ours: Crawldock, job: str) -> bool:
    return ours.state(job) == "finished"


def _sign_in(side: Crawldock) -> httpx.Client:
    """A browser without a window."""
    browser = httpx.Client(base_url=side.url, timeout=60, trust_env=False)
    page = browser.get("/login").text
    token = page.split('name="form_token" value="')[1].split('"')[0]
    answer = browser.post("/login", data={"form_token": token, "secret": KEY})
    if answer.status_code != 303:
        raise RuntimeError(f"not signed in: {answer.status_code}")
    return browser


def _milliseconds(browser: httpx.Client, path: str, requests: int) -> float:
    figures = []
    for _ in range(requests + 1):
        began = time.perf_counter()
        answer = browser.get(path)
        figures.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:500]}")
    return median(figures[1:])
