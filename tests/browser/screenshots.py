"""The pictures of docs/images: ``python -m tests.browser.screenshots`` makes them anew, on a platform of their own."""

import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import CHROMIUM, OPTIONS
from tests.browser.demo import EGG
from tests.platform import KEY, ROOT, Platform, until

FOLDER = ROOT / "docs" / "images"
PROJECT = 7


def main() -> None:
    """Fill a platform with what people have, and take a picture of each main page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Platform(Path(folder)) as platform:
        watched, waits = fill(platform)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
            for name, path, width, scheme in pictures(watched):
                context = browser.new_context(
                    base_url=platform.url, viewport={"width": width, "height": 800}, color_scheme=scheme
                )
                page = context.new_page()
                sign_in(page)
                page.goto(path)
                page.wait_for_timeout(1500)
                page.screenshot(path=FOLDER / f"{name}.png")
                context.close()
            browser.close()
        for key in (watched, *waits):
            platform.post("jobs/stop.json", project=PROJECT, job=key)


def pictures(watched: str) -> list[tuple[str, str, int, str]]:
    """Name, address, width and colour scheme."""
    base = f"/p/{PROJECT}"
    return [
        ("projects", "/", 1280, "light"),
        ("jobs", f"{base}/jobs", 1440, "light"),
        ("jobs-dark", f"{base}/jobs", 1440, "dark"),
        ("jobs-phone", f"{base}/jobs", 390, "light"),
        ("run", f"{base}/run?like={PROJECT}/2/1", 1280, "light"),
        ("job", f"/p/{watched}", 1280, "light"),
        ("job-dark", f"/p/{watched}", 1280, "dark"),
        ("items", f"/p/{PROJECT}/2/1/items", 1280, "light"),
        ("log", f"/p/{watched}/log", 1280, "light"),
        ("requests", f"/p/{PROJECT}/2/1/requests", 1280, "light"),
        ("spiders", f"{base}/spiders", 1280, "light"),
        ("periodic-jobs", f"{base}/periodic-jobs", 1280, "light"),
        ("periodic-job", f"{base}/periodic-jobs/1", 1280, "light"),
        ("deploys", f"{base}/deploys", 1280, "light"),
        ("workers", "/workers", 1280, "light"),
        ("webhooks", f"{base}/settings/webhooks", 1280, "light"),
    ]


def sign_in(page: Page) -> None:
    """With the admin key."""
    page.goto("/login")
    page.get_by_label("API key or password").fill(KEY)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")


def fill(platform: Platform) -> tuple[str, list[str]]:
    """Jobs of all kinds; returns the keys of one that has run for a while, and of those that run or wait."""
    platform.create_project(PROJECT)
    platform.sql("UPDATE project SET name = 'Book shops' WHERE id = ?", PROJECT)
    platform.deploy(EGG, PROJECT, "2026-11-20-4f1c2ab")
    for number in range(6):
        for spider in ("books", "news", "prices-of-all-shops-in-the-north-and-in-the-south"):
            pages = 3 + (number * 7 + len(spider)) % 9
            platform.schedule(PROJECT, spider, pages=pages, category=f"c{number}", add_tag=["nightly"])
    failing = [platform.schedule(PROJECT, spider) for spider in ("broken", "banned")]
    for key in failing:
        platform.wait(key)
    nightly = {
        "description": "All shops, every night", "cron": "30 2 * * 1-5", "timezone": "Europe/Berlin",
        "spiders": [{"name": "books"}, {"name": "news"}], "addtags": ["nightly"], "priority": 3,
    }  # fmt: skip
    prices = {
        "description": "Prices", "cron": "*/15 6-22 * * *", "jitter": 60, "overlap": "queue",
        "spiders": [{"name": "prices-of-all-shops-in-the-north-and-in-the-south", "args": {"category": "all"}}],
    }  # fmt: skip
    for schedule in (nightly, prices):
        answer = platform.http.post(f"v2/projects/{PROJECT}/periodicjobs", json=schedule)
        assert answer.status_code in (200, 201), answer.text
        platform.http.post(f"v2/projects/{PROJECT}/periodicjobs/{answer.json()['id']}/run")
    until(lambda: platform.get("jobs/count.json", project=PROJECT, state="pending").json()["total"] == 0)
    watched = platform.schedule(PROJECT, "slow", pages=900, category="science fiction")
    busy = platform.schedule(PROJECT, "slow", pages=900, category="history")
    waits = [platform.schedule(PROJECT, "books", pages=n, priority=n % 5, add_tag="again") for n in range(3)]
    platform.wait(watched, "running")
    time.sleep(45)  # so that there is something to see
    return watched, [busy, *waits]


if __name__ == "__main__":
    main()
