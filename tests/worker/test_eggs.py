"""Eggs on disk: unpacked once, whole or not at all, never outside their folder."""

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import DeployFailed
from tests.eggs import egg
from worker import eggs


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return buffer.getvalue()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_egg_is_unpacked_once(tmp_path: Path) -> None:
    folder = eggs.unpack(tmp_path / "code", "abc", lambda: egg({"proj/__init__.py": "x = 1"}))
    assert folder == tmp_path / "code" / "abc.egg"
    assert (folder / "proj" / "__init__.py").read_text() == "x = 1"
    again = eggs.unpack(tmp_path / "code", "abc", lambda: pytest.fail("it is there already"))
    assert again == folder and list((tmp_path / "code").iterdir()) == [folder]


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    data = zipped("../up.py", "a/../../up.py", "/root.py", "fine.py", "a\\..\\..\\win.py")
    folder = eggs.unpack(tmp_path / "code", "abc", lambda: data)
    assert all(str(path).startswith("code/abc.egg/") for path in files(tmp_path))
    assert {"fine.py", "root.py"} <= files(folder) and not Path("/root.py").exists()


def test_a_symbolic_link_is_unpacked_as_a_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
        archive.writestr("link/passwd2", "x")
    with pytest.raises(DeployFailed, match="cannot be unpacked"):
        eggs.unpack(tmp_path, "abc", buffer.getvalue)
    assert not Path("/etc/passwd2").exists() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"no zip", egg({"a.py": "x" * 5000})[:-30]])
def test_what_is_no_zip_leaves_nothing(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DeployFailed, match="cannot be unpacked"):
        eggs.unpack(tmp_path, "abc", lambda: data)
    assert list(tmp_path.iterdir()) == []


def deflated() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", bytes(range(256)) * 4)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        zipped("a.py", "b.py").replace(b"a.pya.py", b"a.pyXXXX", 1),
        deflated()[:40] + b"\xff" * 20 + deflated()[60:],
        zipped("a", "a/b"),
    ],
    ids=["checksum", "compressed", "file and folder"],
)
def test_damaged_content_leaves_nothing(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DeployFailed, match="cannot be unpacked"):
        eggs.unpack(tmp_path, "abc", lambda: data)
    assert list(tmp_path.iterdir()) == []


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eggs, "MOST_BYTES", 1 << 20)
    with pytest.raises(DeployFailed, match="holds more than"):
        eggs.unpack(tmp_path, "abc", lambda: egg({"zeros.txt": "0" * (2 << 20)}))
    assert list(tmp_path.iterdir()) == []


def test_many_may_unpack_the_same_egg_at_once(tmp_path: Path) -> None:
    data = egg({f"m{n}.py": "x" * 1000 for n in range(50)})
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: eggs.unpack(tmp_path, "abc", lambda: data), range(16)))
    assert set(found) == {tmp_path / "abc.egg"} and list(tmp_path.iterdir()) == [tmp_path / "abc.egg"]


def test_a_fetch_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fetch() -> bytes:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        eggs.unpack(tmp_path, "abc", fetch)
    assert list(tmp_path.iterdir()) == []


def module(tmp_path: Path, entry_points: str | bytes | None) -> str:
    (tmp_path / "EGG-INFO").mkdir()
    (tmp_path / "EGG-INFO" / "PKG-INFO").touch()
    if entry_points is not None:
        data = entry_points.encode() if isinstance(entry_points, str) else entry_points
        (tmp_path / "EGG-INFO" / "entry_points.txt").write_bytes(data)
    return eggs.settings_module(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[scrapy]\nsettings = proj.settings\n",
        "[scrapy]\nsettings=proj.settings",
        "[console_scripts]\na = b:c\n\n[scrapy]\nother = x\nsettings = proj.settings\n",
    ],
)
def test_the_settings_entry_point(tmp_path: Path, text: str) -> None:
    assert module(tmp_path, text) == "proj.settings"


@pytest.mark.parametrize(
    "text",
    [None, "", "[scrapy]\n", "[other]\nsettings = x\n", "rubbish", b"\xff\xfe", "[scrapy]\nsettings =\n"],
)
def test_without_a_settings_entry_point(tmp_path: Path, text: str | bytes | None) -> None:
    with pytest.raises(DeployFailed, match="no settings entry point"):
        module(tmp_path, text)


def test_an_empty_archive_has_no_entry_point(tmp_path: Path) -> None:
    folder = eggs.unpack(tmp_path, "abc", zipped)
    with pytest.raises(DeployFailed, match="no settings entry point"):
        eggs.settings_module(folder)


def test_a_file_of_the_projects_own(tmp_path: Path) -> None:
    inside, root = tmp_path / "a" / "b" / "own.yml", tmp_path / "own.yml"
    inside.parent.mkdir(parents=True)
    assert eggs.project_file(tmp_path, "a.b.settings", "own.yml") is None
    inside.write_text("inside")
    assert eggs.project_file(tmp_path, "a.b.settings", "own.yml") == b"inside"
    assert eggs.project_file(tmp_path, "settings", "own.yml") is None
    root.write_text("root")
    assert eggs.project_file(tmp_path, "a.b.settings", "own.yml") == b"root"


def test_a_file_of_the_projects_own_is_in_its_egg(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("outside")
    (tmp_path / "egg").mkdir()
    for module in (f"{tmp_path}.settings", "...settings", ".", ""):
        assert eggs.project_file(tmp_path / "egg", module, "own.yml") is None
