"""Periodic jobs in a browser: made with a live preview, seen to fire, paused, deleted."""

import re
import time

from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.platform import Platform, until


def test_a_schedule_from_the_form_to_its_job(enter: Open, platform: Platform, shop: int) -> None:
    page = enter(timezone_id="Asia/Tokyo")
    page.goto(f"/p/{shop}/periodic-jobs/new")
    page.get_by_label("Description").fill("The books, every minute")
    page.get_by_label("When", exact=True).fill("30 2 * * MON-FRI")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Name").fill("books")
    page.get_by_label("Arguments").fill("pages=2\nrun=periodic")
    expect(page.locator("#preview")).to_contain_text("At 02:30 on Monday through Friday")
    expect(page.locator("#preview li")).to_have_count(5)
    expect(page.locator("#preview li").first).to_contain_text(re.compile(r"02:30 CES?T"))
    page.get_by_label("When", exact=True).fill("* * * * *")
    expect(page.locator("#preview")).to_contain_text("Every minute")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url(re.compile(r"/periodic-jobs/\d+$"))
    expect(page.locator(".said")).to_contain_text("Saved: Every minute.")
    schedule = page.url.rsplit("/", 1)[1]
    url = f"v2/projects/{shop}/periodicjobs/{schedule}"
    now = int(time.time() * 1000)  # nobody waits for the minute to end
    platform.sql("UPDATE periodic_job SET next_time = ?, due_time = ? WHERE id = ?", now, now, int(schedule))
    (run, *_) = until(lambda: platform.get(f"{url}/runs").json()["results"], 75)
    page.goto(f"/p/{shop}/periodic-jobs")
    row = page.get_by_role("row").filter(has_text="The books, every minute")
    expect(row.get_by_role("img")).to_be_visible()
    row.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("row").filter(has_text="The books, every minute")).to_contain_text("paused")
    assert platform.wait(run["jobs"][0])["items_scraped"] == 10


def test_without_javascript(enter: Open, platform: Platform, shop: int) -> None:
    page = enter(java_script_enabled=False)
    page.goto(f"/p/{shop}/periodic-jobs/new")
    page.get_by_label("When", exact=True).fill("0 0 29 2 *")
    page.get_by_label("Name").fill("news")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview")).to_contain_text("29 Feb 2028, 00:00 UTC")
    page.get_by_role("button", name="Add a spider").click()
    page.get_by_label("Name").nth(1).fill("books")
    page.get_by_label("Description").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("news")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".said")).to_contain_text("2 jobs scheduled")
    page.get_by_text("Delete this periodic job").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".said")).to_contain_text("Deleted.")
