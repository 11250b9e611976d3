"""A process with Scrapy imported, from which each job's process is forked. Runs in a spider's virtualenv.

It is started as a script, and nothing of ours can be imported here: the standard library and what the
virtualenv has are all there is. What it may import is what has no memory of when or where it was
imported: neither the entrypoint, which reads its environment then, nor ``tldextract``, which looks at
HOME, nor anything that installs the Twisted reactor. One exception pays: aiohttp, which Scrapy's remote
control imports in every job, reads the machine's certificate authorities when imported.

Three generations:

template   waits on its control socket; for each connection it is handed, it forks a keeper
keeper     adopts whatever the spider leaves behind, tells of its end, and ends all of it when told to,
           or when the other end is gone
spider     runs the entrypoint as if it had been started afresh; what it shares with the others of its
           template is the seed of hashes
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import threading
import time
from typing import Any

NAMES = """
scrapy.cmdline scrapy.commands.bench scrapy.commands.check scrapy.commands.crawl scrapy.commands.edit
scrapy.commands.fetch scrapy.commands.genspider scrapy.commands.list scrapy.commands.parse
scrapy.commands.runspider scrapy.commands.settings scrapy.commands.shell scrapy.commands.startproject
scrapy.commands.version scrapy.commands.view scrapy.resolver scrapy.utils.decorators scrapy.statscollectors
scrapy.utils.httpobj scrapy.utils.request scrapy.logformatter scrapy.extensions.corestats
scrapy.extensions.logcount scrapy.extensions.remote_control scrapy.utils.engine
scrapy.extensions.memusage scrapy.extensions.memdebug
scrapy.extensions.closespider scrapy.extensions.logstats scrapy.extensions.spiderstate
scrapy.extensions.throttle scrapy.extensions.debug scrapy.utils.serialize scrapy.exporters
scrapy.core.downloader.handlers.datauri scrapy.core.downloader.handlers.file
scrapy.core.downloader.handlers.http11 scrapy.core.downloader.handlers.s3
scrapy.core.downloader.handlers.ftp scrapy.responsetypes scrapy.downloadermiddlewares.offsite
scrapy.downloadermiddlewares.robotstxt scrapy.downloadermiddlewares.httpauth
scrapy.downloadermiddlewares.downloadtimeout scrapy.downloadermiddlewares.defaultheaders
scrapy.downloadermiddlewares.useragent scrapy.downloadermiddlewares.retry
scrapy.downloadermiddlewares.redirect scrapy.downloadermiddlewares.httpcompression
scrapy.downloadermiddlewares.httpproxy scrapy.downloadermiddlewares.stats
scrapy.downloadermiddlewares.httpcache scrapy.http.cookies scrapy.spidermiddlewares.referer
scrapy.spidermiddlewares.start scrapy.spidermiddlewares.httperror scrapy.spidermiddlewares.urllength
scrapy.spidermiddlewares.depth scrapy.spidermiddlewares.metacopy scrapy.dupefilters scrapy.squeues
scrapy.pqueues scrapinghub twisted.conch.telnet twisted.conch.insults.insults filelock requests_file resource
"""
REACTOR = "twisted.internet.reactor"
# Modules of these names in a project's code would be imported at start, before we are asked.
AT_START = {"sitecustomize", "usercustomize"}
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MOST_DESCRIPTORS = 65536
# Modules whose objects' finalizers do no more: open files and sockets, processes, the event loop.
FREED_BY_KERNEL = {"_io", "_socket", "socket", "subprocess", "asyncio.unix_events"}

_libc = ctypes.CDLL(None, use_errno=True)


def main(control: socket.socket, idle_seconds: float) -> str | None:
    """Fork keepers until the control socket ends or nothing has been asked for long.

    Returns: in a spider, the path of the script to run; None everywhere else.
    """
    keepers = 0
    asked = time.monotonic()
    while True:
        ready, _, _ = select.select([control], [], [], 5)
        with contextlib.suppress(ChildProcessError):
            while keepers and os.waitpid(-1, os.WNOHANG)[0]:
                keepers -= 1
        if not ready:
            if not keepers and time.monotonic() - asked > idle_seconds:
                return None
            continue
        asked = time.monotonic()
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return None  # the worker is gone
        if os.fork() == 0:
            control.close()
            return keep(socket.socket(fileno=descriptors[0]))
        os.close(descriptors[0])
        keepers += 1


def keep(client: socket.socket) -> str | None:
    """The life of a keeper; returns in the spider alone, the script to run."""
    os.setsid()
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    request, output = receive(client)
    if request is None or clashes(request["path"]):
        os._exit(0)  # the other end sees it, and starts the spider in the other way
    # Only now that we are known to be able is the other end asked whether it still wants us.
    client.sendall(b"ready\n")
    if client.recv(1) != b"!":
        os._exit(0)
    parent = os.getpid()
    spider = os.fork()
    if spider == 0:
        client.close()
        become(request, output, parent)
        return str(request["script"])
    for descriptor in output:
        os.close(descriptor)
    watch(client, spider)
    os._exit(0)


def receive(client: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The request, a JSON object in one line, and the descriptors for stdout and stderr."""
    data, descriptors, _, _ = socket.recv_fds(client, 1 << 16, 2)
    while data and not data.endswith(b"\n"):
        more = client.recv(1 << 20)
        if not more:
            return None, descriptors
        data += more
    return (json.loads(data) if data else None), descriptors


def clashes(path: list[str]) -> bool:
    """Has the project a module that would come before one that is imported here already?"""
    names = set(AT_START)
    names.update(name.partition(".")[0] for name in sys.modules)
    for folder in path:
        with contextlib.suppress(OSError):
            for entry in os.listdir(folder):  # noqa: PTH208 - light is right here
                if entry.partition(".")[0] in names:
                    return True
    return False


def become(request: dict[str, Any], output: list[int], parent: int) -> None:
    """Make this process what a new one would be."""
    # 1. Die with the keeper: nobody would tell of our end any more. 2. It may be gone already.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(127)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for target, descriptor in enumerate((null, *output)):
        os.dup2(descriptor, target)
    os.closerange(3, MOST_DESCRIPTORS)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = [request["script"]]
    sys.orig_argv = [sys.executable, request["script"]]
    # As the interpreter would have it: the folder of the script, where it really is, then PYTHONPATH.
    place = os.path.dirname(os.path.realpath(request["script"]))  # noqa: PTH120 - light is right here
    sys.path[:0] = [place, *request["path"]]
    importlib.invalidate_caches()
    random.seed()
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    # What Python itself does at its start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    gc.enable()


def run(script: str) -> None:
    """The spider, to its end. One that is not plain, an exception or words, is the interpreter's affair."""
    try:
        runpy.run_path(script, run_name="__main__")
        end(0)
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            end(ending.code or 0)
        raise
    finally:
        gc.unfreeze()  # else the interpreter would take things apart in another order


def end(status: int) -> None:
    """End as an interpreter does, but leave the memory as it is.

    To take it apart is to copy the template's page by page, only to free it: a fifth of a short job's time.

    1. Threads are waited for, exit handlers called, as ever. Neither happens again, should 2 end it.
    2. Where something would still notice the interpreter's end, we return, and the interpreter ends: a
       thread that goes on, or anything left that has a finalizer, unless it only frees what the kernel frees.
    3. What is left in buffers is written out. A file that hands on to another does it in good order itself.
    4. The C library calls the handlers of its libraries. We keep Python's lock: nothing runs beside.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    left = gc.get_objects()  # but for what the template has made
    finalized = {
        kind for kind in set(map(type, left)) if any("__del__" in vars(base) for base in kind.__mro__)
    }
    goes_on = any(thread.daemon for thread in threading.enumerate())
    if goes_on or not {kind.__module__ for kind in finalized} <= FREED_BY_KERNEL:
        return
    for file in [sys.stdout, sys.stderr, *left]:
        if type(file).__module__ == "_io":
            with contextlib.suppress(OSError, ValueError):
                file.flush()
    ctypes.PyDLL(None).exit(status & 0xFF)


def watch(client: socket.socket, spider: int) -> None:
    """Tell of the spider's end, and end all it left behind when the other end says so or is gone."""
    client.sendall(f"{spider}\n".encode())
    alive: list[Any] = [os.pidfd_open(spider)]
    while True:
        ready, _, _ = select.select([client, *alive], [], [], 10)
        if alive and alive[0] in ready:
            # It stays a zombie, so that its id is nobody else's while the other end may still use it.
            ended = os.waitid(os.P_PID, spider, os.WEXITED | os.WNOWAIT)
            assert ended is not None
            status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            os.close(alive.pop())
            with contextlib.suppress(OSError):
                client.sendall(f"{status}\n".encode())
        if client in ready:
            end_children(spider)
            with contextlib.suppress(OSError):
                client.sendall(b"gone\n")
            return
        if alive:
            reap_adopted(spider)


def reap_adopted(spider: int) -> None:
    """Reap the dead that the spider has left to us, but not the spider."""
    for child in children():
        if child != spider:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)


def end_children(spider: int) -> None:
    """Kill and reap until there are none: a killed process hands its own children to us."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(spider, signal.SIGKILL)
    while left := children():
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def children() -> list[int]:
    """Ids of this process's children."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123 - light is right here
        return [int(word) for word in file.read().split()]


def warm_up() -> bool:
    """Import what a job imports; False when that has a side effect that no job may inherit."""
    for name in NAMES.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    try:
        children()  # some kernels do not tell
    except OSError:
        return False
    gc.collect()
    gc.freeze()  # what is here stays where it is: collections in a job would copy the pages
    return REACTOR not in sys.modules


if __name__ == "__main__":
    del sys.path[0]  # our own folder, which no spider may see
    _control = socket.socket(fileno=int(sys.argv[1]))
    if warm_up():
        _script = main(_control, float(sys.argv[2]))
        if _script is not None:
            run(_script)
    else:
        sys.exit(3)
