"""Runs in the virtualenv of a client: executes the code it is sent, answers with what the code returned.

One line of JSON in, one out. It knows nothing of the tests; whatever the code prints goes to stderr.
"""

import contextlib
import json
import linecache
import os
import sys
import traceback
from typing import Any

from scrapinghub import Connection, HubstorageClient, ScrapinghubClient
from scrapinghub.hubstorage.batchuploader import BatchUploader

BatchUploader.worker_loop_delay = 0.02  # seconds; a second by default, for each flush
KEY, URL = os.environ["KEY"], os.environ["URL"]


def run(code: str, given: dict[str, Any]) -> Any:
    """Execute code as the body of a function that sees fresh clients of all three generations."""
    client = ScrapinghubClient(KEY, dash_endpoint=f"{URL}/api/", endpoint=URL)
    hs = HubstorageClient(KEY, endpoint=URL)
    connection = Connection(KEY, url=f"{URL}/api/")
    names = {"client": client, "hs": hs, "connection": connection, "KEY": KEY, "URL": URL, **given}
    if "project" in given:
        names["number"] = given["project"]
        names["project"] = client.get_project(given["project"])
    body = "def call():\n" + "\n".join(f"    {line}" for line in code.splitlines()) + "\n"
    linecache.cache["<code>"] = (len(body), None, body.splitlines(keepends=True), "<code>")
    try:
        exec(compile(body, "<code>", "exec"), names)
        return names["call"]()
    finally:
        client.close(timeout=10)
        hs.close(timeout=10)


def main() -> None:
    """Serve until the other side closes the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            call = json.loads(line)
            try:
                # No default: what is not JSON, such as bytes in place of text, is a failure.
                answer = json.dumps({"returned": run(**call)})
            except Exception as error:
                said = {"type": type(error).__name__, "text": str(error), "trace": traceback.format_exc()}
                answer = json.dumps({"raised": said})
            print(answer, file=answers, flush=True)


main()
