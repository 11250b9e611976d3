"""The peer of reading: nginx, which serves the same bytes as a file."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.process import Child, free_port

CONFIG = """\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    server {{
        listen 127.0.0.1:{port};
        location / {{ root {folder}; }}
        location /gzip/ {{ alias {folder}/; gzip on; gzip_types *; }}
        location = /ready {{ return 200; }}
    }}
}}
"""


def missing() -> bool:
    """Is there no nginx on PATH? It is a package of the system, not one of Python."""
    return shutil.which("nginx") is None


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """An nginx that serves a folder, and compresses below ``/gzip/``; its URL."""
    port, own = free_port(), folder / "nginx"
    own.mkdir()
    (own / "nginx.conf").write_text(CONFIG.format(port=port, folder=folder))
    argv = ["nginx", "-e", "stderr", "-p", str(own), "-c", str(own / "nginx.conf")]
    with Child(argv, folder=own, env={}) as child:
        child.ready(f"http://127.0.0.1:{port}/ready", seconds=20)
        yield f"http://127.0.0.1:{port}"
