"""The measured project as an egg: a zip that both sides accept."""

import io
import zipfile
from pathlib import Path

PROJECT = Path(__file__).parent / "project"
PACKAGE = "benchspiders"


def build() -> bytes:
    """The egg of ``bench/project``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as egg:
        for path in sorted((PROJECT / PACKAGE).rglob("*.py")):
            egg.write(path, path.relative_to(PROJECT).as_posix())
        egg.writestr("EGG-INFO/PKG-INFO", f"Metadata-Version: 1.2\nName: {PACKAGE}\nVersion: 1.0\n")
        egg.writestr("EGG-INFO/entry_points.txt", f"[scrapy]\nsettings = {PACKAGE}.settings\n")
        egg.writestr("EGG-INFO/top_level.txt", f"{PACKAGE}\n")
        egg.writestr("EGG-INFO/zip-safe", "\n")
    return buffer.getvalue()
