"""The sender, against a real receiver: signed as others verify it, bounded by receivers' manners, kill-proof."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlmodel import col
from standardwebhooks.webhooks import WebhookVerificationError

from app import db
from app.models import Delivery, Webhook
from app.services import webhooks
from tests.factories import make_job
from tests.platform import ROOT, until
from tests.receiver import Receiver, status
from worker import sender
from worker.sender import Sender

pytestmark = pytest.mark.usefixtures("database", "sent")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def _sending(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A sender that looks often, and gives a call one second."""
    monkeypatch.setattr(sender, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(sender, "CALL_SECONDS", 1.0)
    thread = Sender()
    thread.start()
    yield
    thread.end()


def make_webhook(url: str, *events: str) -> str:
    """Returns its secret."""
    with db.transaction() as session:
        return webhooks.create(session, 1, url, events or ("job:scheduled",), "admin")[1]


def deliveries() -> list[Any]:
    with db.reading() as session:
        return list(session.scalars(select(Delivery).order_by(col(Delivery.id))))


def settled(count: int = 1) -> list[Any]:
    """The deliveries, once that many have been tried and noted."""
    until(lambda: sum(each.answer is not None for each in deliveries()) >= count)
    return deliveries()


@pytest.mark.usefixtures("_sending")
def test_a_delivery_is_signed_as_receivers_verify_it(receiver: Receiver) -> None:
    secret, other = make_webhook(f"{receiver.url}/a?token=t"), make_webhook(f"{receiver.url}/b")
    key = make_job()
    settled(2)
    (got,) = receiver.at("/a?token=t")
    body = got.verified(secret)
    assert (body["event"], body["job"], body["summary"]["spider"]) == ("job:scheduled", str(key), "quotes")
    with pytest.raises(WebhookVerificationError):
        got.verified(other)
    assert {each.state for each in deliveries()} == {"delivered"}
    assert receiver.at("/b")[0].headers["webhook-id"] != got.headers["webhook-id"]


@pytest.mark.usefixtures("_sending")
@pytest.mark.parametrize("code", [302, 400, 500])
def test_what_is_not_2xx_is_tried_again_later_and_kept_to_read(receiver: Receiver, code: int) -> None:
    receiver.answers["/a"] = status(code, b"no\0 " + b"x" * 100_000, Location="/elsewhere")
    make_webhook(f"{receiver.url}/a")
    make_job()
    (row,) = settled()
    assert (row.state, row.status, row.attempts) == ("pending", code, 1)
    assert row.answer == "no " + "x" * 996
    assert receiver.at("/elsewhere") == []  # redirects are not followed


@pytest.mark.usefixtures("_sending")
def test_nobody_there_is_said_in_words_and_not_where(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver() as gone:
        url = f"{gone.url}/secret-path"
    make_webhook(url)
    make_webhook("http://does-not-exist.invalid/secret-path")
    caplog.set_level("INFO")
    make_job()
    assert all("ConnectError" in row.answer for row in settled(2))
    assert "secret-path" not in caplog.text


@pytest.mark.usefixtures("_sending")
def test_a_receiver_that_drips_holds_up_neither_others_nor_us_for_long(receiver: Receiver) -> None:
    ended = Event()

    def drip(call: BaseHTTPRequestHandler) -> None:
        call.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not ended.wait(0.1):
            call.wfile.write(b"X: y\r\n")

    receiver.answers["/slow"] = drip
    make_webhook(f"{receiver.url}/slow")
    for _ in range(sender.AT_ONCE):
        make_job()
    make_webhook(f"{receiver.url}/quick")
    make_job()
    until(lambda: receiver.at("/quick"))
    try:
        until(lambda: any("no answer within" in (row.answer or "") for row in deliveries()))
    finally:
        ended.set()


SENDING = "import time; from worker import sender; s = sender.Sender(); s.start(); time.sleep(600)"


def test_a_sender_that_is_killed_after_sending_has_its_delivery_sent_again(receiver: Receiver) -> None:
    killed, processes = Event(), []

    def kill(call: BaseHTTPRequestHandler) -> None:
        if not killed.is_set():  # it has sent, and never learns the answer
            os.kill(processes[0].pid, signal.SIGKILL)
            killed.set()
        status(204)(call)

    receiver.answers["/a"] = kill
    secret = make_webhook(f"{receiver.url}/a")
    make_job()
    try:
        for _ in range(2):
            processes.append(subprocess.Popen([sys.executable, "-c", SENDING], cwd=ROOT, env=os.environ))
            until(lambda: len(receiver.at("/a")) == len(processes))
            if len(processes) == 1:
                assert processes[0].wait(30) == -signal.SIGKILL
                assert (deliveries()[0].state, deliveries()[0].attempts) == ("pending", 1)
                with db.transaction() as session:  # its lease has run out
                    session.execute(update(Delivery).values(next_time=5))
        until(lambda: deliveries()[0].state == "delivered")
    finally:
        for process in processes:
            process.kill()
            process.wait(30)
    first, second = receiver.at("/a")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.verified(secret) == second.verified(secret)


@pytest.mark.usefixtures("_sending")
def test_a_receiver_that_is_gone_is_not_called_again(receiver: Receiver) -> None:
    receiver.answers["/a"] = status(410)
    make_webhook(f"{receiver.url}/a")
    make_job()
    settled()
    make_job()
    assert [row.state for row in deliveries()] == ["failed"]
    with db.reading() as session:
        assert session.scalars(select(Webhook.enabled)).all() == [False]  # type: ignore[call-overload]


def test_ending_waits_for_what_is_under_way(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "POLL_SECONDS", 0.05)
    here, go_on = Event(), Event()

    def wait(call: BaseHTTPRequestHandler) -> None:
        here.set()
        go_on.wait(30)
        status(204)(call)

    receiver.answers["/a"] = wait
    make_webhook(f"{receiver.url}/a")
    make_job()
    thread = Sender()
    thread.start()
    assert here.wait(30)
    thread.ended.set()
    go_on.set()
    thread.end()
    assert [row.state for row in deliveries()] == ["delivered"]
