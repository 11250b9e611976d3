"""The example project: packed as an egg and deployed over HTTP, as any user's would be."""

import hashlib
import io
import json
import time
import uuid
import zipfile
from base64 import b64encode
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from app.errors import DeployFailed

ROOT = Path(__file__).parent.parent / "examples"
PROJECT = 123
NAME = "examples"


def egg() -> bytes:
    """The example project as an egg; the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        files = {
            str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.glob("somesite/**/*.py"))
        }
        files["EGG-INFO/PKG-INFO"] = "Metadata-Version: 1.0\nName: somesite\nVersion: 1.0\n"
        files["EGG-INFO/entry_points.txt"] = "[scrapy]\nsettings = somesite.settings\n"
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def _version() -> str:
    return f"example-{hashlib.sha256(egg()).hexdigest()[:12]}"


def deployed(url: str, key: str) -> bool:
    """Is this very version of the example project deployed?

    Raises:
        DeployFailed: the platform does not say, in its own words.

    """
    known = _call(f"{url}/api/scrapyd/listversions.json?project={PROJECT}", key)
    return _version() in json.loads(known)["versions"]


def deploy(url: str, key: str) -> None:
    """Deploy the example project.

    Raises:
        DeployFailed: the platform refuses it, in its own words.

    """
    content, version = egg(), _version()
    boundary = uuid.uuid4().hex
    fields = [("project", str(PROJECT)), ("version", version)]
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    header = f'--{boundary}\r\nContent-Disposition: form-data; name="egg"; filename="somesite.egg"\r\n\r\n'
    body = b"".join([*parts, header.encode(), content, f"\r\n--{boundary}--\r\n".encode()])
    answer = _call(
        f"{url}/api/scrapyd/addversion.json", key, body, f"multipart/form-data; boundary={boundary}"
    )
    if json.loads(answer.splitlines()[-1]).get("status") != "ok":
        raise DeployFailed(answer)


def _call(url: str, key: str, body: bytes | None = None, kind: str = "") -> str:
    request = Request(url, body)
    request.add_header("Authorization", f"Basic {b64encode(f'{key}:'.encode()).decode()}")
    if kind:
        request.add_header("Content-Type", kind)
    try:
        with urlopen(request, timeout=330) as response:
            return str(response.read().decode())
    except HTTPError as error:
        raise DeployFailed(f"{url}: {error.read().decode(errors='replace')}") from None


def wait_for(url: str, seconds: float) -> None:
    """Wait until the platform is healthy.

    Raises:
        DeployFailed: it is not, within the time; the message says what is missing.

    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urlopen(f"{url}/health", timeout=5):
                return
        except HTTPError as error:
            problem = error.read().decode(errors="replace")
        except OSError as error:
            problem = str(error)
        if time.monotonic() > deadline:
            raise DeployFailed(f"the platform at {url} is not ready: {problem}")
        time.sleep(0.1)
