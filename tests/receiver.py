"""A receiver of webhooks on loopback, which answers as it is told and remembers what came."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from standardwebhooks.webhooks import Webhook


@dataclass(frozen=True)
class Received:
    """One call."""

    path: str
    headers: dict[str, str]
    data: bytes

    @property
    def body(self) -> dict[str, Any]:
        return dict(orjson.loads(self.data))

    def verified(self, secret: str) -> Any:
        """The body, as a receiver sees it that knows the secret; else it raises."""
        return Webhook(secret).verify(self.data, self.headers)


Answer = Callable[[BaseHTTPRequestHandler], None]


def status(code: int, text: bytes = b"", **headers: str) -> Answer:
    def answer(call: BaseHTTPRequestHandler) -> None:
        call.send_response(code)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            call.send_header(name, value)
        call.end_headers()
        call.wfile.write(text)

    return answer


class Receiver:
    """Answers 204, or what ``answers`` has for a path."""

    def __enter__(self) -> "Receiver":
        outer = self
        self.got: list[Received] = []
        self.answers: dict[str, Answer] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.got.append(Received(self.path, headers, data))
                outer.answers.get(self.path, status(204))(self)

            def log_message(self, *_: object) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the sender had no more patience
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def at(self, path: str) -> list[Received]:
        return [each for each in self.got if each.path == path]
