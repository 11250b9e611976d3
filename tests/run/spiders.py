"""The egg of the tests in this folder: spiders that misbehave, each in one way."""

from tests.eggs import HEAD, SPIDERS, egg

MORE = '''
PIPE = os.environ.get("SHUB_FIFO_PATH")

class Init(Base):
    name = "init"
    def __init__(self, *args, **kwargs):
        raise ValueError("no init today")

class Code(Base):
    """Does what its argument says."""
    name = "code"
    def parse(self, response):
        exec(self.code, globals() | {"self": self})
        yield {"pid": os.getpid()}

class Early(Base):
    """Writes to the real stdout and stderr, before and after logging is set up."""
    name = "early"
    def parse(self, response):
        os.write(1, b"native out\\n")
        os.write(2, b"native err\\n  continued\\n")
        print("printed")
        yield {}

class Closes(Base):
    name = "closes"
    def parse(self, response):
        raise scrapy.exceptions.CloseSpider(self.reason)

class Ready(Base):
    """Yields one item, then waits until the file `go` exists, then yields another."""
    name = "ready"
    async def start(self):
        import asyncio
        yield {"n": 1}
        self.logger.info("waiting")
        while not os.path.exists(self.go):
            await asyncio.sleep(0.1)
        yield {"n": 2}

class Silent(Base):
    name = "silent"
    async def start(self):
        import asyncio
        await asyncio.sleep(60)
        yield {}

class Hog(Base):
    """Takes `mb` of memory, itself or through a helper that has left the family."""
    name = "hog"
    def parse(self, response):
        code = f"import time; data = bytearray(b'x') * ({self.mb} << 20); time.sleep(99)"
        if getattr(self, "own", None):
            if os.fork() == 0:
                subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
                os._exit(0)
        else:
            data = bytearray(b"x") * (int(self.mb) << 20)
        time.sleep(float(getattr(self, "seconds", "60")))

class Setsid(Base):
    """Leaves a helper behind that has a session of its own, and another whose parent has gone."""
    name = "setsid"
    async def start(self):
        import asyncio
        nap = [sys.executable, "-c", "import time, signal; signal.signal(15, signal.SIG_IGN); time.sleep(99)"]
        one = subprocess.Popen(nap, start_new_session=True)
        two = subprocess.check_output([sys.executable, "-c",
            "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], start_new_session=True, env={},"
            " stdout=subprocess.DEVNULL).pid)", *nap])
        yield {"helpers": [one.pid, int(two)]}
        await asyncio.sleep(float(getattr(self, "wait", "0")))
'''

SETTINGS = """
import os, sys
SPIDER_MODULES = ["proj.spiders"]
MARK = "project"
if os.environ.get("AT_IMPORT") == "raise":
    raise ImportError("no import today")
if os.environ.get("AT_IMPORT") == "exit":
    os._exit(7)
if os.environ.get("AT_IMPORT") == "show":
    import gc, json, locale, logging, resource, signal, threading, time
    resources = [n for name, n in vars(resource).items() if name.startswith("RLIMIT_")]
    shown = {
        "environment": {name: value for name, value in os.environ.items() if not name.startswith("SHOW")},
        # Where they really are: a virtualenv is known by several names here.
        "argv": sys.argv, "path": list(map(os.path.realpath, sys.path)), "at home": os.getcwd() == os.environ["HOME"],
        "session": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
        "limits": [resource.getrlimit(n) for n in resources], "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "descriptors": {n: os.path.basename(os.readlink(f"/proc/self/fd/{n}")).partition("[")[0]
                        for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")},
        "signals": {n: str(signal.getsignal(n)).partition(" at ")[0] for n in range(1, 65)},
        "blocked": [int(n) for n in signal.pthread_sigmask(0, ())], "wakeup": signal.set_wakeup_fd(-1),
        "umask": os.umask(0o22), "threads": threading.active_count(), "flags": list(sys.flags), "zone": time.tzname,
        "encodings": [sys.__stdout__.encoding, sys.__stderr__.errors, locale.getpreferredencoding()], "gc": gc.isenabled(),
        "handlers": {name: str(logging.getLogger(name).handlers) for name in ("", "scrapy", "twisted")},
        "finders": [str(each) for each in sys.meta_path],
        "hooks": [str(sys.excepthook), str(threading.excepthook), str(sys.displayhook)],
        "reactor": "twisted.internet.reactor" in sys.modules, "main": sys.modules["__main__"].__file__,
    }
    os.write(1, b"shown: " + json.dumps(shown, sort_keys=True).encode() + b"\\n")
"""

# Imported by Python itself, before the entrypoint can open the pipe.
SITE = """
import os, sys, time
if os.environ.get("AT_START"):
    os.write(1, b"started early\\n")
    os.write(2, b"Traceback, or so:\\n  a line of it\\n")
if os.environ.get("AT_START") == "sleep":
    time.sleep(120)
if os.environ.get("AT_START") == "exit":
    os._exit(7)
"""

SCRIPT = """
import os, sys
from scrapinghub import HubstorageClient
print("script", sys.argv, os.environ.get("MARK"), __name__)
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
"""

FILES = {
    "proj/__init__.py": "",
    "proj/settings.py": SETTINGS,
    "proj/spiders.py": HEAD + SPIDERS + MORE,
    "EGG-INFO/scripts/script.py": SCRIPT,
}
EGG = egg(FILES)
# No process of this one can be forked: it would be too late for what is in it.
EARLY_EGG = egg({**FILES, "sitecustomize.py": SITE})
