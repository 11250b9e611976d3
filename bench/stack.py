"""The virtualenv of the peers and of the real client: the platform's locked stack, scrapyd beside it."""

import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import uv

from bench.process import environment, say

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench"
SCRAPYD = "scrapyd==1.6.0"


def _uv(*args: str) -> str:
    done = subprocess.run(
        [uv.find_uv_bin(), *args],
        cwd=ROOT,
        env=environment({}),
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"uv {' '.join(args)}\n{done.stderr}")
    return done.stdout


@cache
def python() -> str:
    """The interpreter of that virtualenv; built once, kept in ``.bench/``."""
    locked = _uv(
        *("export", "--frozen", "--only-group", "stack", "--only-group", "client"),
        *("--no-hashes", "--no-emit-project", "--no-annotate", "--no-header", "--quiet"),
    )
    requirements = f"{locked}\n{SCRAPYD}\n"
    name = hashlib.sha256((requirements + sys.version).encode()).hexdigest()[:12]
    folder = CACHE / f"peers-{name}"
    interpreter = folder / "bin" / "python"
    built = folder / ".built"
    if not built.exists():
        say(f"building {folder.relative_to(ROOT)} with {SCRAPYD}")
        shutil.rmtree(folder, ignore_errors=True)
        CACHE.mkdir(exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n")
        wanted = CACHE / f"{name}.txt"
        wanted.write_text(requirements)
        _uv("venv", "--quiet", "--python", sys.executable, str(folder))
        _uv("pip", "install", "--quiet", "--python", str(interpreter), "-r", str(wanted))
        built.touch()
    return str(interpreter)
