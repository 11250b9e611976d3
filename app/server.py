"""The web server: uvicorn, told that endless answers end when it does, and that heads have an end."""

import contextlib
import socket

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api import sse
from app.settings import settings

HEAD_BYTES = 64 << 10  # of a request: its first line and headers, or what follows its body


class Protocol(HttpToolsProtocol):
    """Refuses a head that is too long: httptools itself would keep one without end in memory."""

    _unread = 0  # bytes that nothing has come of yet

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self._unread += len(data)
        super().data_received(data)
        if self._unread > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_headers_complete(self) -> None:  # noqa: D102
        self._unread = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:  # noqa: D102
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:  # noqa: D102
        self._unread = 0
        super().on_message_complete()


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
            http=Protocol,
            loop="uvloop",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=5,
        )
    )
    with contextlib.suppress(KeyboardInterrupt):  # which it raises again at its end
        server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)
