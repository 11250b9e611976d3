"""A webhook is added and tried in a browser; what came of it appears by itself."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.test_accessible import faults
from tests.receiver import Receiver, status


def test_a_webhook_is_added_and_tried(enter: Open, shop: int) -> None:
    page = enter()
    with Receiver() as receiver:
        receiver.answers["/broken"] = status(500, b"I do not feel well today, please come back later. " * 3)
        page.goto(f"/p/{shop}/settings/webhooks")
        page.get_by_label("Address").fill(f"{receiver.url}/hook")
        page.get_by_label("job:completed").check()
        page.get_by_role("button", name="Add webhook").click()
        secret = page.locator("#fresh").inner_text()
        assert faults(page) == []
        page.get_by_role("link", name=f"{receiver.url}/hook").click()
        page.get_by_role("button", name="Send a test").click()
        expect(page.get_by_role("row", name=re.compile("test"))).to_contain_text("delivered")
        assert receiver.got[0].verified(secret)["event"] == "test"
        page.get_by_label("Address").fill(f"{receiver.url}/broken")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="Send a test").click()
        failing = page.get_by_role("row", name=re.compile("500"))
        expect(failing).to_contain_text("I do not feel well")
        assert faults(page) == []
        page.set_viewport_size({"width": 390, "height": 900})
        for path in (page.url, f"/p/{shop}/settings/webhooks"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            assert faults(page) == []
        page.get_by_role("link", name=f"{receiver.url}/broken").click()
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete webhook").click()
        expect(page.get_by_role("status")).to_contain_text("was deleted")
