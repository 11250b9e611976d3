"""Live parts of pages of which no project's events tell: a stream that says when they look different."""

from collections.abc import Callable

from sqlalchemy.orm import Session
from starlette.responses import Response

from app.api import sse
from app.api.sse import Then
from app.db import reading


def changes(state: Callable[[Session], object]) -> Response:
    """An event ``changed`` whenever ``state`` has changed; a page fetches itself once its stream is open.

    Args:
        state: what the page shows, of which two can be compared. It raises a CrawldockError, as the page
            does, for who may not see it; asked each second, it ends the stream of who may not any more.

    """
    with reading() as session:
        seen = state(session)  # an error is still an error here

    def look() -> tuple[bytes, Then]:
        nonlocal seen
        with reading() as session:
            now = state(session)
        if now == seen:
            return b"", Then.WAIT
        seen = now
        return sse.frame("changed", b"{}"), Then.WAIT

    return sse.stream(look, lambda: None, None)
