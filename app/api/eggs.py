"""Uploads of code: an egg with its requirements, checked before anything is stored."""

import io
import zipfile

from app.api.params import Params
from app.errors import BadParameter
from app.services import versions

MOST_BYTES = 1 << 30  # unpacked: testing a zip bomb would keep us busy for ever


def checked_egg(data: bytes, what: str) -> bytes:
    """An egg that is a readable zip.

    Raises:
        BadParameter: it is not.

    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as egg:
            if sum(file.file_size for file in egg.infolist()) > MOST_BYTES:
                raise BadParameter(f"invalid value for {what}: more than {MOST_BYTES >> 20} MB unpacked")
            broken = egg.testzip()
    except BadParameter:
        raise
    except Exception as error:  # zipfile raises many kinds on crafted files
        raise BadParameter(f"invalid value for {what}: not an egg ({error})") from None
    if broken is not None:
        raise BadParameter(f"invalid value for {what}: {broken} in the egg is damaged")
    return data


def safe_name(params: Params, parameter: str) -> str:
    """A required name of letters, digits, and _ . + -; it becomes part of file names."""
    name = params.text(parameter)
    check_name(name, parameter)
    return name


def check_name(name: str, parameter: str) -> None:
    """Refuse a name that would be dangerous as a part of a file name.

    Raises:
        BadParameter: it has other characters than letters, digits, and _ . + -.

    """
    if not name.isascii() or not all(letter.isalnum() or letter in "_.+-" for letter in name):
        raise BadParameter(f"invalid value for {parameter}: {name}")


def read_version(params: Params) -> tuple[str, str, list[tuple[str, bytes]]]:
    """Name of the version, requirements, and all eggs of an upload.

    Raises:
        BadParameter: one of them is missing, or cannot be used.

    """
    name = safe_name(params, "version")
    egg = checked_egg(_sent(params, "egg", required=True)[-1][1], "egg")
    more = {}
    for place, (filename, data) in enumerate(_sent(params, "eggs")):
        egg_name = (filename or f"egg-{place}").removesuffix(".egg")[:200]
        check_name(egg_name, "eggs")
        if egg_name == versions.MAIN_EGG:
            raise BadParameter(f"invalid value for eggs: the name {egg_name} is the project's own")
        more[egg_name] = checked_egg(data, "eggs")
    uploaded = _sent(params, "requirements")
    try:
        requirements = (
            uploaded[-1][1].decode() if uploaded else params.maybe("requirements", length=1 << 20) or ""
        )
    except UnicodeDecodeError:
        raise BadParameter("invalid value for requirements: not UTF-8") from None
    if "\0" in requirements:
        raise BadParameter("invalid value for requirements: NUL character")
    return name, requirements, [(versions.MAIN_EGG, egg), *more.items()]


def _sent(params: Params, name: str, *, required: bool = False) -> list[tuple[str, bytes]]:
    """Uploaded files, without what a browser sends for a field that was left empty."""
    found = [(filename, data) for filename, data in params.files(name) if filename or data]
    if required and not found:
        raise BadParameter(f"missing '{name}' argument")
    return found
