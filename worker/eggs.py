"""Eggs on this machine: unpacked once, each in a folder named after its content, shared by all jobs."""

import configparser
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from app.errors import DeployFailed

MOST_BYTES = 1 << 30  # unpacked
MOST_FILES = 100_000
LARGEST_FILE = 1 << 20  # bytes of a file of the project's own that is read

# What a damaged or odd archive raises: bad data, an unknown method, a password, a file that is a folder too.
BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    FileExistsError, IsADirectoryError, NotADirectoryError,
)  # fmt: skip


def unpack(folder: Path, sha256: str, fetch: Callable[[], bytes]) -> Path:
    """The folder of an egg below ``folder``; ``fetch`` gives its bytes when it is not there yet.

    The name ends in ``.egg``, which is how importlib finds the metadata inside. The folder appears by
    a rename, complete or not at all, whoever else unpacks it and whatever dies meanwhile.

    Raises:
        DeployFailed: not a zip, or too large unpacked.

    """
    target = folder / f"{sha256}.egg"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix="unpacking-"))
    try:
        packed = temporary / "egg"
        packed.write_bytes(fetch())
        _extract(packed, temporary / "code")
        (temporary / "code").rename(target)
    except OSError:
        if not target.is_dir():  # else somebody was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _extract(packed: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(packed) as egg:
            files = egg.infolist()
            if len(files) > MOST_FILES or sum(each.file_size for each in files) > MOST_BYTES:
                raise DeployFailed(f"the egg holds more than {MOST_FILES} files or {MOST_BYTES >> 20} MB")
            target.mkdir()  # nothing else makes it when the archive is empty
            egg.extractall(target)  # drops absolute paths and ".."
    except BROKEN as error:
        raise DeployFailed(f"the egg cannot be unpacked: {error}") from None


def settings_module(egg: Path) -> str:
    """The module named by the entry point ``settings`` of the group ``scrapy``.

    Raises:
        DeployFailed: there is none.

    """
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    try:
        parser.read_string((egg / "EGG-INFO" / "entry_points.txt").read_text())
        module = parser["scrapy"]["settings"].strip()
        if not module:
            raise KeyError
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
        raise DeployFailed(
            "the egg has no settings entry point: setup.py needs "
            "entry_points={'scrapy': ['settings = YOUR_PROJECT.settings']}"
        ) from None
    if not (egg / "EGG-INFO" / "PKG-INFO").is_file():
        raise DeployFailed("the egg has no EGG-INFO/PKG-INFO: Python cannot read its entry points without")
    return module


def project_file(egg: Path, module: str, name: str) -> bytes | None:
    """A file of the project's own in its egg: at the root, or in the package of the settings module.

    What is larger than LARGEST_FILE is cut there. None: there is no such file.
    """
    package = module.split(".")[:-1]
    inside = [egg.joinpath(*package) / name] if all(map(str.isidentifier, package)) else []
    for path in (egg / name, *inside):
        if path.is_file():
            with path.open("rb") as file:
                return file.read(LARGEST_FILE + 1)
    return None


def scripts(egg: Path) -> list[str]:
    """The egg's scripts as spiders are called: ``py:NAME.py`` (contract 4.1)."""
    return sorted(f"py:{path.name}" for path in (egg / "EGG-INFO" / "scripts").glob("*.py"))
