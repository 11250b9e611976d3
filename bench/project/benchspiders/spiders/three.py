"""The smallest job: three items without network."""

from collections.abc import Iterator
from typing import Any, ClassVar

import scrapy  # type: ignore[import-not-found]  # not in the platform's virtualenv


class Three(scrapy.Spider):  # type: ignore[misc]
    """What a job costs when the spider itself does nothing."""

    name = "three"
    start_urls: ClassVar = ["data:,three"]

    def parse(self, response: Any) -> Iterator[dict[str, Any]]:
        """Three items of one small response."""
        for number in range(3):
            yield {"number": number, "text": response.text}
