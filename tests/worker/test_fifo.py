"""The named pipe: bytes, however they are cut, become messages, and rubbish becomes words."""

import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker import fifo
from worker.fifo import LINE_BYTES, Message, Reader, Rubbish

# A busy machine is slow, and that is no failure.
calm = settings(max_examples=50, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=10)

STREAM = (
    b'LOG {"time":1,"level":20,"message":"Log opened."}\n'
    b'ITM {"a":1,"u":"\\u00e9"}\n'
    b"\n"
    b"rubbish\xff\x00\n"
    b'{"bare":true}\n'
    b"ITM [1]\n"
    b'REQ {"url":"http://x","status":200}\n'
    b'STA {"stats":{"n":1.5}}\n'
    b'FIN {"outcome":"finished"}\n'
    b'ITM {"unfinished":'
)


def read(*pieces: bytes) -> list[Message | Rubbish]:
    reader = Reader()
    found = [message for piece in pieces for message in reader.feed(piece)]
    return [*found, *reader.finish()]


def one(line: bytes) -> Message:
    message = fifo.parse(line)
    assert isinstance(message, Message), message
    return message


def test_each_kind_is_read() -> None:
    kinds = [message.kind if isinstance(message, Message) else message.reason for message in read(STREAM)]
    assert kinds == [
        "LOG", "ITM", r"not a message: rubbish\xff\x00", "ITM", "not a JSON object: ITM [1]",
        "REQ", "STA", "FIN", r'not JSON: {"unfinished":',
    ]  # fmt: skip


@calm
@given(st.lists(st.integers(0, len(STREAM))))
def test_any_cut_of_a_stream_gives_the_same_messages(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(places)]
    assert read(*pieces) == read(STREAM)


@calm
@given(st.binary(max_size=200))
def test_any_bytes_become_messages_or_words(data: bytes) -> None:
    for message in read(data, b"\n"):
        assert isinstance(message, Message | Rubbish)


@calm
@given(
    st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
)
def test_whatever_python_writes_is_stored_as_json(value: dict[str, object]) -> None:
    message = one(b"ITM " + json.dumps(value).encode())
    assert message.value == json.loads(message.line.decode(), parse_constant=pytest.fail)


def test_a_message_keeps_the_line_as_it_was_written() -> None:
    assert one(b'ITM {"a": 1.50,  "b": 1}') == Message("ITM", b'{"a": 1.50,  "b": 1}', {"a": 1.5, "b": 1})


def test_a_bare_object_is_an_item() -> None:
    assert one(b'{"a":1}') == Message("ITM", b'{"a":1}', {"a": 1})


def test_nan_and_infinities_become_null() -> None:
    assert one(b'ITM {"a":[NaN,{"b":-Infinity}],"c":1}').value == {"a": [None, {"b": None}], "c": 1}


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    message = one(b'ITM {"\\udc80":"x\\ud800y"}')
    assert (message.value, message.line) == ({"?": "x?y"}, b'{"?": "x?y"}')


def test_large_integers_survive_up_to_the_largest_double() -> None:
    message = one(b'ITM {"n":1' + 30 * b"0" + b',"s":"\\ud800","m":-1' + 400 * b"0" + b"}")
    assert message.line == b'{"n": 1' + 30 * b"0" + b', "s": "?", "m": null}'


@pytest.mark.parametrize("depth", [200, 300, 1000, 3000, 200_000])
def test_deep_nesting_never_raises(depth: int) -> None:
    for deep in (b"[" * depth + b"]" * depth, b"[" * depth + b"NaN" + b"]" * depth):
        (message,) = read(b'ITM {"a":' + deep + b"}\n")
        assert isinstance(message, Message | Rubbish)


@pytest.mark.parametrize(
    "line", [b"ITM", b"ITM{}", b"XXX {}", b"itm {}", b" ITM {}", b"ITM null", b"ITM {", b"\xc3\xa9 {}", b"{"]
)
def test_a_line_that_is_no_message_becomes_words(line: bytes) -> None:
    (message,) = read(line + b"\n")
    assert isinstance(message, Rubbish) and message.reason.isascii()


def test_a_long_line_is_shown_in_part() -> None:
    (message,) = read(b"x" * 100_000 + b"\n")
    assert isinstance(message, Rubbish) and len(message.reason) < 300 and message.reason.endswith("…")


@pytest.mark.parametrize("step", [1 << 16, 1 << 20, 11 << 20])
def test_a_line_of_10_mb_is_dropped_and_the_next_is_read(step: int) -> None:
    data = b'ITM {"a":"' + b"x" * (10 << 20) + b'"}\nITM {"b":1}\n'
    long, short = read(*(data[place : place + step] for place in range(0, len(data), step)))
    assert long == Rubbish(f"a message of {(10 << 20) + 12} bytes was dropped: longer than {LINE_BYTES}")
    assert short == Message("ITM", b'{"b":1}', {"b": 1})


def test_an_over_long_line_is_never_held() -> None:
    reader = Reader()
    for _ in range(50):
        assert not list(reader.feed(b"x" * LINE_BYTES))
        assert len(reader._rest) <= LINE_BYTES
    assert list(reader.finish()) == [
        Rubbish(f"a message of {50 * LINE_BYTES} bytes was dropped: longer than {LINE_BYTES}")
    ]


def test_a_line_of_exactly_the_limit_is_read() -> None:
    line = b'ITM {"a":"' + b"x" * (LINE_BYTES - 12) + b'"}'
    assert len(line) == LINE_BYTES
    assert [type(message) for message in read(line + b"\n", b"x" + line + b"\n")] == [Message, Rubbish]


def test_the_pipe_reads_without_blocking_and_never_ends(tmp_path: Path) -> None:
    descriptor = fifo.create(tmp_path / "pipe")
    try:
        with pytest.raises(BlockingIOError):
            os.read(descriptor, 100)
        (tmp_path / "pipe").write_bytes(b"FIN {}\n")  # a writer comes and goes
        assert os.read(descriptor, 100) == b"FIN {}\n"
        with pytest.raises(BlockingIOError):
            os.read(descriptor, 100)
    finally:
        os.close(descriptor)


def test_the_pipe_is_for_its_owner_and_not_inherited(tmp_path: Path) -> None:
    descriptor = fifo.create(tmp_path / "pipe")
    assert (tmp_path / "pipe").stat().st_mode & 0o777 == 0o600
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
