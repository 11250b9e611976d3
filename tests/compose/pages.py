"""The web site that the test crawls: /PAGES/DELAY/N is page N of a chain, each served after DELAY seconds."""

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            pages, delay, number = self.path.strip("/").split("/")
            page, last = int(number), int(pages) - 1
            wait = float(delay)
        except ValueError:  # robots.txt
            self.send_error(404)
            return
        # A chain, so that the delays add up and a job lasts as long as the test wants.
        time.sleep(wait)
        link = f'<a href="/{pages}/{delay}/{page + 1}">next</a>' if page < last else "the end"
        body = f"<html><title>Page {page}</title><h1>Page {page}</h1><p>{link}</p></html>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8080), Page).serve_forever()
