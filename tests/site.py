"""A web site on loopback: a tree of pages for spiders to crawl."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGES = 7  # page n links to 2n and 2n+1, as a heap


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        number = self.path.strip("/")
        known = number.isdigit() and 1 <= int(number) <= PAGES
        links = [n for n in (2 * int(number), 2 * int(number) + 1) if n <= PAGES] if known else []
        anchors = "".join(f'<a href="/{n}">{n}</a>' for n in links)
        body = f"<html><title>Page {number}</title><body>{anchors}</body></html>".encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Site:
    """Serves pages 1 … PAGES; ``url`` is the first one."""

    def __enter__(self) -> "Site":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/1"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
