"""The peer of reading chunks: ``zstd -dc``, which writes what it unpacks straight into curl's connection."""

import shlex
import shutil
import socket
import sqlite3
import struct
import subprocess
import threading
from contextlib import closing
from pathlib import Path

from bench.process import curl, environment, run

HEAD = b"HTTP/1.0 200 OK\r\n\r\n"


def missing() -> bool:
    """Is there no zstd on PATH?"""
    return shutil.which("zstd") is None


def frames(database: Path, job: str, file: Path) -> None:
    """Write the items of a job into a file as its chunks have them: frame after frame."""
    statement = """
        SELECT data FROM chunk JOIN job ON job.id = chunk.job_id JOIN spider ON spider.id = job.spider_id
        WHERE chunk.kind = 'items' AND job.number = ? AND spider.number = ? ORDER BY chunk.first
    """
    _, spider, number = job.split("/")
    with closing(sqlite3.connect(database, timeout=60)) as connection, file.open("wb") as output:
        for (data,) in connection.execute(statement, (number, spider)):
            (times,) = struct.unpack_from(">I", data)  # app.chunks: the times come first
            output.write(data[4 + times + 4 :])


def seconds(file: Path, expected: int) -> float:
    """How long curl takes for a file, when a connection of its own has zstd at the other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_serve, args=(listener, file))
        server.start()
        took, printed = run(curl(f"http://127.0.0.1:{listener.getsockname()[1]}/"), folder=file.parent)
        server.join()
    if int(printed) < expected:
        raise RuntimeError(f"zstd gave {printed} bytes of {expected}")
    return took


def _serve(listener: socket.socket, file: Path) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1 << 16)
        connection.sendall(HEAD)
        argv = ["zstd", "-dcq", str(file)]
        subprocess.run(argv, stdout=connection.fileno(), env=environment({}), timeout=300, check=True)


def piped(file: Path, expected: int) -> float:
    """The same, when curl reads a pipe."""
    script = f"zstd -dcq {shlex.quote(str(file))} | {shlex.join(curl('file:///dev/stdin'))}"
    took, printed = run(["sh", "-c", script], folder=file.parent)
    if int(printed) < expected:
        raise RuntimeError(f"zstd gave {printed} bytes of {expected}")
    return took
