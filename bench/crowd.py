"""A crowd of slots that only speak to the database, as ``worker.runner`` does, but run no spider."""

import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from threading import BrokenBarrierError
from typing import Any

from app import broker, db
from app.services import reconciler
from app.settings import settings
from bench.work import PER_MACHINE, Ours, Plain, Work

SEEN_SECONDS, SWEEP_SECONDS = 4.0, 2.0
WARM = 5
# So late a lease is renewed between turns. A runner does it every two seconds; here the thousand share the
# machine with the server, and are to be slow rather than lost.
RENEW_SECONDS = 8.0
PATIENCE = 120.0  # how long one part of the crowd waits for the others


@dataclass(frozen=True)
class Crowd:
    """Who works, and for how long. Slots take turns on a connection: they would be idle on their own."""

    url: str
    slots: int
    processes: int
    threads: int  # of each process, a connection each
    seconds: float  # of turns: a heartbeat, the end of a job, the next job
    beating: float = 0.0  # seconds of heartbeats alone, after that
    plain: bool = False  # the peer's table, not ours
    sweeps: bool = True  # a scheduler works beside
    storing: float = 0.0  # seconds of records alone, after the heartbeats


@dataclass
class Claim:
    """A job that somebody has begun; times of the machine's monotonic clock."""

    id: int
    priority: int
    began: float
    ended: float


@dataclass
class Told:
    """What one process, or all of them, did."""

    claims: list[Claim] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    took: dict[str, list[float]] = field(default_factory=dict)  # ms of each step while turns were taken
    turned: float = 0.0  # claims per second
    beaten: float = 0.0  # heartbeats per second, alone
    stored: float = 0.0  # commits of records per second, alone
    cpu: float = 0.0  # seconds of processor time of this side while turns were taken
    wakes: int = 0  # messages that the broker would have had


class Hand:
    """A thread of the crowd: it acts for its share of the slots, one after the other."""

    def __init__(self, work: Work, name: str, slots: int) -> None:
        self._work = work
        self._slots: list[Any] = [None] * slots
        self._machines = [f"w{place}@{name}" for place in range(-(-slots // PER_MACHINE))]
        self._places: Iterator[int] = cycle(range(slots))
        self._beaten = [0.0] * slots  # when
        self._stored = [0] * slots  # records of each kind that its job has
        self._seen = float("-inf")
        self.claims: list[Claim] = []
        self.finished: list[int] = []
        self.took: dict[str, list[float]] = {}

    def fill(self) -> None:
        """Every slot begins a job, and a few the next: whoever does something first does it slowly."""
        for place in range(len(self._slots)):
            self._begin(place)
        for place in range(min(len(self._slots), WARM)):
            self._turn(place)
        self.took.clear()

    def turns(self, until: float) -> int:
        """Jobs end and others begin until that time; returns how many began."""
        before = len(self.claims)
        while time.monotonic() < until and any(self._slots):
            self._turn(next(self._places))
        return len(self.claims) - before

    def beats(self, until: float) -> int:
        """Heartbeats alone until that time; returns how many."""
        done = 0
        while time.monotonic() < until:
            done += self._beat(next(self._places))
        return done

    def stores(self, until: float) -> int:
        """Records alone until that time; returns how many commits of them."""
        done = 0
        while time.monotonic() < until:
            done += self._store(next(self._places))
            self._renew()
        return done

    def leave(self) -> None:
        """Every job ends; no other begins."""
        for place in range(len(self._slots)):
            self._renew()
            self._end(place)

    def _turn(self, place: int) -> None:
        if time.monotonic() - self._seen >= SEEN_SECONDS:
            self._seen = time.monotonic()
            for machine in self._machines:
                self._step("seen", self._work.seen, machine)
        self._renew()
        self._beat(place)
        if self._end(place):
            self._step("pass on, ended", self._work.pass_on, True)
        if self._begin(place):
            self._step("pass on, begun", self._work.pass_on, False)

    def _begin(self, place: int) -> bool:
        began = time.monotonic()
        job = self._step("claim", self._work.claim, self._machines[place // PER_MACHINE])
        self._slots[place], self._beaten[place], self._stored[place] = job, began, 0
        if job is not None:
            self.claims.append(Claim(job.id, job.priority, began, time.monotonic()))
        return job is not None

    def _renew(self) -> None:
        for place, beaten in enumerate(self._beaten):
            if time.monotonic() - beaten > RENEW_SECONDS:
                self._beat(place)

    def _beat(self, place: int) -> bool:
        job = self._slots[place]
        if job is None:
            return False
        self._beaten[place] = time.monotonic()
        if not self._step("heartbeat", self._work.beat, job):
            raise RuntimeError(f"job row {job.id} was lost")
        return True

    def _store(self, place: int) -> bool:
        job = self._slots[place]
        if job is None:
            return False
        if not self._step("records", self._work.store, job, self._stored[place]):
            raise RuntimeError(f"job row {job.id} was lost")
        self._stored[place] += 1
        return True

    def _end(self, place: int) -> bool:
        job, self._slots[place] = self._slots[place], None
        if job is None or not self._step("finish", self._work.finish, job):
            return False
        self.finished.append(job.id)
        return True

    def _step(self, name: str, do: Callable[..., Any], *args: Any) -> Any:
        began = time.perf_counter()
        result = do(*args)
        self.took.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return result


_meet: Any = None  # the barrier of all processes; set in each child
_over: Any = None  # set when the sweeper is to end
_wakes = 0


def _enter(meet: Any, over: Any, url: str) -> None:
    """In a new child."""
    global _meet, _over
    _meet, _over = meet, over
    use(url)
    broker._sender.send = _count  # type: ignore[method-assign]


def use(url: str) -> None:
    """Make it the database of this process."""
    os.environ["DATABASE_URL"] = url
    settings.cache_clear()
    db.engine.cache_clear()


def _count(*_: Any) -> None:
    global _wakes
    _wakes += 1


def _work(crowd: Crowd, number: int) -> Told:
    try:
        return _take_part(crowd, number)
    except BaseException:
        _meet.abort()  # the others need not wait
        raise


def _take_part(crowd: Crowd, number: int) -> Told:
    share = crowd.slots // (crowd.processes * crowd.threads)
    hands = [
        Hand(Plain(crowd.url) if crowd.plain else Ours(), f"m{number}-{place}", share)
        for place in range(crowd.threads)
    ]
    told = Told()
    with ThreadPoolExecutor(crowd.threads) as pool:

        def all_do(what: Callable[[Hand], Any]) -> list[Any]:
            _meet.wait(PATIENCE)
            return list(pool.map(what, hands))

        def rate(what: Callable[[Hand, float], int], seconds: float) -> float:
            _meet.wait(PATIENCE)
            began = time.monotonic()
            counts = list(pool.map(lambda hand: what(hand, began + seconds), hands))
            return sum(counts) / (time.monotonic() - began)

        all_do(Hand.fill)
        before = _cpu()
        told.turned = rate(Hand.turns, crowd.seconds)
        told.cpu = _cpu() - before
        told.beaten = rate(Hand.beats, crowd.beating)
        told.stored = rate(Hand.stores, crowd.storing)
        all_do(Hand.leave)
    for hand in hands:
        _add(told, Told(hand.claims, hand.finished, hand.took))
    told.wakes = _wakes
    return told


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _sweep() -> Told:
    """A scheduler's reconciler, as often as it sweeps when there is always something to tidy."""
    took: dict[str, list[float]] = {"sweep": []}
    while not _over.wait(SWEEP_SECONDS):
        began = time.perf_counter()
        reconciler.sweep()
        took["sweep"].append((time.perf_counter() - began) * 1000)
        reconciler.tidy(0)
    return Told(took=took, wakes=_wakes)


def _add(to: Told, told: Told) -> None:
    to.claims += told.claims
    to.finished += told.finished
    for name, figures in told.took.items():
        to.took.setdefault(name, []).extend(figures)
    for name in ("turned", "beaten", "stored", "cpu", "wakes"):
        setattr(to, name, getattr(to, name) + getattr(told, name))


def let_work(crowd: Crowd, look: Callable[[], Any] = lambda: None) -> tuple[Told, list[Any]]:
    """Let the crowd work. Whatever one of them stumbles over is raised here, a deadlock too.

    Args:
        look: called when turns begin, when they end, when heartbeats alone have ended, and records alone.

    Returns: what all of them did, and what ``look`` saw.

    """
    context = multiprocessing.get_context("spawn")
    meet, over = context.Barrier(crowd.processes + 1), context.Event()
    enter = partial(
        ProcessPoolExecutor, mp_context=context, initializer=_enter, initargs=(meet, over, crowd.url)
    )
    total, seen = Told(), []
    with enter(crowd.processes) as pool, enter(1) as aside:
        parts = [pool.submit(_work, crowd, number) for number in range(crowd.processes)]
        sweeper = [aside.submit(_sweep)] if crowd.sweeps else []
        try:
            meet.wait(PATIENCE)
            for _ in range(4):
                meet.wait(PATIENCE)
                seen.append(look())
        except BrokenBarrierError:
            pass  # one of them failed, and says why
        except BaseException:
            meet.abort()
            over.set()
            raise
        failed = [future.exception() for future in parts]
        over.set()
        failed += [future.exception() for future in sweeper]
    for error in sorted(filter(None, failed), key=lambda error: isinstance(error, BrokenBarrierError)):
        raise error
    for future in parts + sweeper:
        _add(total, future.result())
    return total, seen
