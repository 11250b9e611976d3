"""A job that is all items: ``n`` of them, about 300 bytes each, without network."""

from collections.abc import Iterator
from typing import Any, ClassVar

import scrapy  # type: ignore[import-not-found]  # not in the platform's virtualenv

from benchspiders.products import product


class Many(scrapy.Spider):  # type: ignore[misc]
    """What storing an item costs; the argument ``n`` says how many."""

    name = "many"
    start_urls: ClassVar = ["data:,many"]

    def __init__(self, *args: Any, n: str = "1000", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.n = int(n)

    def parse(self, _response: Any) -> Iterator[dict[str, Any]]:
        """Items shaped like a shop's product pages."""
        for number in range(self.n):
            yield product(number)
