"""The page of a job in a browser: charts, the log as it is written, items, what axe-core finds."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Open
from tests.platform import Platform, until


@pytest.fixture
def slow(platform: Platform, shop: int) -> Iterator[str]:
    """A running job that has found something; it is stopped afterwards."""
    key = platform.schedule(shop, "slow", pages=500)
    until(lambda: platform.job(key)["items_scraped"] > 5, 60)
    yield key
    platform.post("jobs/stop.json", project=shop, job=key)
    platform.wait(key)


def test_charts_are_drawn_and_go_on(enter: Open, slow: str) -> None:
    page = enter()
    page.goto(f"/p/{slow}")
    charts = page.locator("#charts canvas")
    expect(charts.first).to_be_visible()
    expect(charts).to_have_count(4)
    page.locator("#charts .u-over").first.hover()
    for caption in page.locator("#charts output").all():  # one cursor for all
        expect(caption).to_have_text(re.compile(r" at \d\d:\d\d:\d\d$"))
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(charts).to_have_count(4)
    page.get_by_text("The same as a table").click()
    expect(page.locator(".figures tbody tr").first).to_be_visible()


def test_figures_move_without_loading_the_page_again(enter: Open, slow: str) -> None:
    page = enter()
    page.goto(f"/p/{slow}")
    items = page.locator(".tile .value").first
    before = items.inner_text()
    expect(items).not_to_have_text(before)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#job .chip").first).to_have_text("cancelled")
    expect(page.locator(".verdict")).to_contain_text("Was stopped by admin after")


def test_what_happens_before_the_page_listens_is_shown(enter: Open, platform: Platform, slow: str) -> None:
    page = enter()
    held = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/events.sse*", hold)
    page.goto(f"/p/{slow}")
    expect(page.locator("#job .chip").first).to_have_text("running")
    platform.post("jobs/stop.json", project=slow.partition("/")[0], job=slow)
    platform.wait(slow)
    page.wait_for_timeout(100)  # Playwright calls while it waits
    held[0].continue_()
    expect(page.locator("#job .chip").first).to_have_text("cancelled")


def test_the_log_is_followed_and_pauses_while_somebody_reads(enter: Open, slow: str) -> None:
    page = enter()
    page.set_viewport_size({"width": 1280, "height": 400})
    page.goto(f"/p/{slow}/log")
    state, lines = page.locator("#tail-state"), page.locator("#log li")
    expect(state).to_contain_text("Following the log")
    expect(lines.filter(has_text="Page 12 of all")).to_be_in_viewport()
    page.mouse.move(640, 200)
    page.mouse.wheel(0, -3000)
    expect(state).to_contain_text(re.compile(r"Paused, [1-9]\d* new lines?"))
    count = lines.count()
    expect(state).to_contain_text(re.compile(r"Paused, ([3-9]|\d\d) new lines"))
    assert lines.count() == count
    page.get_by_role("button", name="Show them").click()
    expect(state).to_contain_text("Following the log")
    expect(lines.last).to_be_in_viewport()
    numbers = [int(each.inner_text()) for each in page.locator("#log .number").all()]
    assert numbers == sorted(set(numbers))


def test_the_log_says_when_the_job_has_ended(enter: Open, platform: Platform, slow: str) -> None:
    page = enter()
    page.goto(f"/p/{slow}/log")
    expect(page.locator("#tail-state")).to_contain_text("Following the log")
    platform.post("jobs/stop.json", project=slow.partition("/")[0], job=slow)
    expect(page.locator("#tail-state")).to_contain_text("The job has ended")
    expect(page.locator("#log")).to_contain_text("Spider closed (shutdown)")


def test_a_traceback_is_folded_and_a_line_has_an_address(enter: Open, platform: Platform, shop: int) -> None:
    job = platform.run(shop, "broken", run="folded")
    page = enter()
    page.goto(f"/p/{job['id']}/log?level=40")
    line = page.locator("#log li").first
    expect(line).to_contain_text("ValueError: no price on the page")
    expect(line.locator(".rest")).to_be_hidden()
    line.locator("summary").click()
    expect(line.locator(".rest")).to_contain_text("Traceback (most recent call last)")
    line.locator(".number").click()
    expect(page).to_have_url(re.compile(r"#line-\d+$"))
    expect(page.locator("#log li:target")).to_contain_text("no price on the page")


def test_items_and_the_csv_of_the_api(enter: Open, platform: Platform, shop: int) -> None:
    key = platform.run(shop, "books", run="csv")["id"]
    page = enter()
    page.goto(f"/p/{key}/items?q=18&field=title")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_text("Download").click()
    with page.expect_download() as started:
        page.get_by_role("link", name="CSV").click()
    mine = started.value.path().read_text()
    params = {"project": shop, "job": key, "include_headers": 1, "fields": mine.partition("\n")[0]}
    assert mine == platform.get("items.csv", **params).text and mine.count("\n") == 16
