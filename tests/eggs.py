"""Eggs for tests: any files, zipped with the metadata that deploying needs."""

import io
import textwrap
import zipfile

HEAD = "import os, signal, subprocess, sys, time\nimport scrapy\n"


def egg(files: dict[str, str], *, settings: str | None = "proj.settings") -> bytes:
    """An egg of ``files``; ``settings`` is its entry point, None leaves it out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, textwrap.dedent(content))
        archive.writestr("EGG-INFO/PKG-INFO", "Metadata-Version: 1.0\nName: proj\nVersion: 1.0\n")
        if settings:
            archive.writestr("EGG-INFO/entry_points.txt", f"[scrapy]\nsettings = {settings}\n")
    return buffer.getvalue()


def project(spiders: str, settings: str = "") -> bytes:
    """An egg of a project with one module of spiders; ``scrapy``, ``os``, ``time`` … are imported in it."""
    return egg(
        {
            "proj/__init__.py": "",
            "proj/settings.py": "SPIDER_MODULES = ['proj.spiders']\n" + textwrap.dedent(settings),
            "proj/spiders.py": HEAD + textwrap.dedent(spiders),
        }
    )


# Spiders that need no network: each starts from a data: URL.
SPIDERS = '''
class Base(scrapy.Spider):
    start_urls = ["data:text/plain,first"]

class Three(Base):
    """Three items."""
    name = "three"
    def parse(self, response):
        for n in range(3):
            yield {"n": n}

class Echo(Base):
    """One item with all it was given."""
    name = "echo"
    def parse(self, response):
        args = {k: v for k, v in vars(self).items() if isinstance(v, str) and k not in ("name",)}
        yield {"args": args, "env": dict(os.environ), "setting": self.settings.get("MARK"), "pid": os.getpid()}

class Slow(Base):
    """An item each tenth of a second, for `seconds`; closes gracefully."""
    # Through delayed requests: closing may hang when it meets a start() that sleeps.
    name = "slow"
    custom_settings = {"DOWNLOAD_DELAY": 0.1, "RANDOMIZE_DOWNLOAD_DELAY": False}
    def parse(self, response, n=0):
        if n < int(float(getattr(self, "seconds", "60")) * 10):
            yield {"n": n}
            yield response.request.replace(dont_filter=True, cb_kwargs={"n": n + 1})

class Deaf(Base):
    """Ignores SIGTERM, and so does the child it starts."""
    name = "deaf"
    async def start(self):
        import asyncio
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c",
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"])
        self.logger.info("deaf child %s", child.pid)
        yield {"pid": os.getpid(), "child": child.pid}
        await asyncio.sleep(1)  # the item goes its way
        time.sleep(120)
'''
