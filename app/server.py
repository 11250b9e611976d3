"""The web server: uvicorn, told that endless answers end when it does."""

import contextlib
import socket

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from app.api import sse
from app.settings import settings


class Server(uvicorn.Server):
    """Waits for answers that are under way when it is asked to end; those without an end are ended first."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn's own, once the streams know of it."""
        sse.close()
        await super().shutdown(sockets)


def run() -> None:
    """Serve the HTTP API until a signal comes."""
    server = Server(
        uvicorn.Config(
            "app.main:app",
            host=settings().host,
            port=settings().port,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=5,
        )
    )
    with contextlib.suppress(KeyboardInterrupt):  # which it raises again at its end
        server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)
