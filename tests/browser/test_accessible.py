"""No page has a serious fault of accessibility; none scrolls sideways on a phone."""

import re
from collections.abc import Iterator, Sequence

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import Open
from tests.platform import Platform

WHERE = (
    "", "jobs", "jobs?state=running", "jobs?spider=nobody", "run", "periodic-jobs", "spiders", "deploys",
    "collections", "activity", "settings",
)  # fmt: skip
BELOW_JOB = ("", "/items", "/items?view=json", "/items/0", "/requests", "/log", "/stats", "/settings")


@pytest.fixture(scope="module")
def paths(platform: Platform, shop: int) -> Iterator[Sequence[str]]:
    """The pages of a project where something has happened."""
    failed = platform.run(shop, "broken", run="axe")["id"]
    key = platform.run(shop, "books", run="axe", pages=5, add_tag=["a tag", "another"])["id"]
    runs = platform.schedule(shop, "slow", pages=400, run="axe")
    schedules = f"v2/projects/{shop}/periodicjobs"
    made = platform.http.post(schedules, json={"cron": "0 5 * * MON", "spiders": ["books", "news"]}).json()
    platform.post(f"{schedules}/{made['id']}/run")
    found = [f"/p/{shop}/{path}" if path else "/" for path in WHERE]
    yield [
        *found,
        *(f"/p/{key}{below}" for below in BELOW_JOB),
        f"/p/{failed}/log",
        f"/p/{runs}",
        f"/p/{runs}/log",
        f"/p/{shop}/spiders/1",
        f"/p/{shop}/periodic-jobs/new",
        f"/p/{shop}/periodic-jobs/{made['id']}",
        "/workers",
        "/account",
        "/p/1/x",
    ]
    platform.post("jobs/stop.json", project=shop, job=runs)  # it has a slot that others need
    platform.wait(runs)


def faults(page: Page) -> list[str]:
    """What axe-core calls serious or critical, in words."""
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url}: {each['id']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0]['failureSummary'][:300]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault(enter: Open, paths: Sequence[str], scheme: str) -> None:
    page = enter(color_scheme=scheme)
    found = []
    for path in paths:
        page.goto(path)
        found += faults(page)
        if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            found.append(f"{path}: scrolls sideways")
    assert found == []


CURRENT_IN_SIGHT = """
() => [...document.querySelectorAll(".menu [aria-current]")].every((here) => {
  const place = here.getBoundingClientRect();
  return place.left >= 0 && place.right <= innerWidth;
})
"""


def test_one_column_on_a_phone(enter: Open, paths: Sequence[str]) -> None:
    page = enter(width=390)
    wide = []
    for path in paths:
        page.goto(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            wide.append(f"{path}: {width}")
        wide += faults(page)
        if not page.evaluate(CURRENT_IN_SIGHT):
            wide.append(f"{path}: the menu hides where we are")
    assert wide == []


def test_every_page_has_one_heading_and_a_title(enter: Open, paths: Sequence[str]) -> None:
    page = enter()
    for path in paths:
        page.goto(path)
        assert page.get_by_role("heading", level=1).count() == 1, path
        assert re.search(r".+ · Crawldock$", page.title()), path
