"""The pages of the APIs, under the policy that lets in nothing from elsewhere."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open


@pytest.mark.parametrize("path", ["/docs", "/storage/docs"])
def test_the_calls_are_shown(enter: Open, path: str) -> None:
    page = enter(sign_in=False)
    page.goto(path)
    expect(page.locator(".opblock").first).to_be_visible()
