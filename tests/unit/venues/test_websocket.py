"""A socket that cuts whole messages out itself gives what the library alone gives, wherever the bytes are cut."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.protocol import OPEN, Protocol, Side
from websockets.uri import parse_uri
from websockets.utils import accept_key

from edgefleet.clock import SYSTEM
from edgefleet.venues.connection import QUEUE_FRAMES, Frames
from edgefleet.venues.websocket import MessageSocket

MAX_BYTES = 70_000
RESPONSE = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n"
RESPONSE_BYTES = len(RESPONSE) - len(b"KEY") + len(accept_key(""))
SIZES = (0, 1, 2, 3, 125, 126, 127, 200, 0x8102, 65_535, 65_536, MAX_BYTES, MAX_BYTES + 1)  # one is like a header
Make = Callable[[Callable[[bytes], None], ClientProtocol], ClientConnection]


class Line(asyncio.Transport):
    """A transport that keeps what is written to it, and whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_ended = False
        self.readings: list[str] = []

    def write(self, data: Any) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_ended = True

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.readings.append("paused")

    def resume_reading(self) -> None:
        self.readings.append("resumed")


class Heard(NamedTuple):
    """What a connection came to."""

    messages: list[bytes]
    end: str
    cause: str
    closed: tuple[int | None, str | None]
    said: list[Frame]  # what it sent, the handshake left out
    is_ended: bool  # it ended its own half


def spell(head: int, body: bytes, *, masked: bool = False) -> bytes:
    """Return a frame, also one that nobody may send."""
    mask, size = 0x80 if masked else 0, len(body)
    if size < 126:
        begin = bytes([head, mask | size])
    elif size < 65_536:
        begin = bytes([head, mask | 126]) + size.to_bytes(2, "big")
    else:
        begin = bytes([head, mask | 127]) + size.to_bytes(8, "big")
    return begin + (b"\0\0\0\0" if masked else b"") + body


SMALL = st.binary(max_size=125)
# Bodies that look like frames: where one is taken for the other, what comes of it differs.
BODIES = st.builds(
    lambda size, like: (like * (size // len(like) + 1))[:size],
    st.sampled_from(SIZES) | st.integers(0, 300),
    st.sampled_from([b"\x81", b"\x81\0", b"\x81\2{}", b"\x88\0", b"\1\1\x80\0", b"{}"]),
)
WHOLE = st.builds(spell, st.sampled_from([0x81, 0x82]), BODIES)
PINGS = st.builds(spell, st.sampled_from([0x89, 0x8A]), SMALL)


@st.composite
def in_fragments(draw: st.DrawFn) -> list[bytes]:
    """Return the frames of one message, pings between them."""
    first, *others = draw(st.lists(BODIES, min_size=2, max_size=4))
    parts = [spell(draw(st.sampled_from([1, 2])), first), *(spell(0, part) for part in others[:-1])]
    parts.append(spell(0x80, others[-1]))
    return [frame for part in parts for frame in [*draw(st.lists(PINGS, max_size=1)), part]]


MESSAGES = st.one_of(WHOLE.map(lambda frame: [frame]), PINGS.map(lambda frame: [frame]), in_fragments())
CLOSES = st.builds(spell, st.just(0x88), st.sampled_from([b"", b"\x03\xe8tape ended", b"\x03\xf3broke", b"\x03"]))
# Reserved bits and opcodes, fragments out of place, a control frame in fragments, masks.
FORBIDDEN = st.one_of(
    st.builds(spell, st.sampled_from([0xC1, 0xA2, 0x91, 0x83, 0x8B, 0x01, 0x02, 0x00, 0x80, 0x09]), SMALL),
    st.builds(spell, st.sampled_from([0x81, 0x89]), SMALL, masked=st.just(True)),
    st.binary(max_size=12),
)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Return what a venue sends, frame by frame: nearly always messages, and at times something else among them."""
    frames = [frame for message in draw(st.lists(MESSAGES, min_size=1, max_size=12)) for frame in message]
    for other in draw(st.lists(WHOLE | CLOSES | FORBIDDEN, max_size=2)):
        frames.insert(draw(st.integers(0, len(frames))), other)
    return frames


@st.composite
def reads(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Return a stream and where it is cut: in headers, in bodies, between frames."""
    stream, places = b"", []
    for frame in draw(streams()):
        at = st.integers(0, 14) | st.integers(0, len(frame)) | st.just(len(frame) - 1)
        places += [len(stream) + place for place in draw(st.lists(at, max_size=2))]
        stream += frame
    return stream, places


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Return `data` in pieces that end at `places`."""
    ends = [0, *sorted({place for place in places if 0 < place < len(data)}), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(ends)]


def the_librarys(_: Callable[[bytes], None], protocol: ClientProtocol) -> ClientConnection:
    return ClientConnection(protocol, max_queue=None)


async def hear(make: Make, stream: bytes, places: Sequence[int], leave_after: int) -> Heard:
    """Return what became of a connection to which `stream` came in pieces, and that we left after so many of them."""
    messages: list[bytes] = []
    protocol = ClientProtocol(parse_uri("ws://venue/stream"), max_size=MAX_BYTES)
    socket = make(messages.append, protocol)
    line = Line()
    socket.connection_made(line)
    request = protocol.connect()
    protocol.send_request(request)
    protocol.data_to_send()
    response = RESPONSE.replace(b"KEY", accept_key(request.headers["Sec-WebSocket-Key"]).encode())
    for number, piece in enumerate(cut(response + stream, places)):
        if number == leave_after and socket.state is OPEN:
            protocol.send_close(1000)
            socket.send_data()
        socket.data_received(piece)
    socket.eof_received()
    socket.connection_lost(None)
    try:
        while True:
            messages.append(await socket.recv(decode=False))
    except ConnectionClosed as error:
        end, cause = str(error), repr(error.__cause__)
    venue = Protocol(Side.SERVER)
    venue.receive_data(line.written)
    said = [event for event in venue.events_received() if isinstance(event, Frame)]
    return Heard(messages, end, cause, (socket.close_code, socket.close_reason), said, line.is_ended)


@given(reads(), st.lists(st.integers(1, RESPONSE_BYTES), max_size=2), st.just(-1) | st.integers(1, 8))
@example((spell(1, b"a") + spell(0x81, b"bb"), []), [], -1)
@example((spell(0xC1, b"aa"), []), [], -1)
@example((spell(0x81, b"a" * 126), [3]), [], -1)
@example((spell(0x81, b"a" * 0x8102), [2]), [], -1)
@settings(max_examples=300)
async def test_a_connection_comes_to_what_the_librarys_comes_to(
    read: tuple[bytes, list[int]], early: list[int], leave_after: int
) -> None:
    stream, places = read
    places = early + [RESPONSE_BYTES + place for place in places]

    ours = await hear(MessageSocket, stream, places, leave_after)

    assert ours == await hear(the_librarys, stream, places, leave_after)


async def test_what_was_read_before_a_pause_is_taken_whole_and_the_rest_once_reading_goes_on() -> None:
    frames, line = Frames(SYSTEM, waits=True), Line()
    socket = opened(frames.receive, line)
    frames.attach(socket)
    bodies = [b"[%d]" % number for number in range(QUEUE_FRAMES + 10)]
    stream = b"".join(spell(0x81, body) for body in bodies)

    socket.data_received(stream[:-1])
    paused = len(frames), list(line.readings)
    taken = frames.take(QUEUE_FRAMES)
    socket.data_received(stream[-1:])

    assert paused == (QUEUE_FRAMES + 9, ["paused"])
    assert line.readings == ["paused", "resumed"]
    assert [frame.body for frame in taken + frames.take(10)] == bodies


async def test_the_librarys_log_names_every_frame(caplog: pytest.LogCaptureFixture) -> None:
    messages: list[bytes] = []
    with caplog.at_level("DEBUG", logger="websockets.client"):
        socket = opened(messages.append, Line())
        socket.data_received(spell(0x81, b"told"))

    assert messages == [b"told"]
    assert "told" in caplog.text


def opened(receive: Callable[[bytes], None], line: Line) -> MessageSocket:
    """Return a connection whose handshake is over."""
    socket = MessageSocket(receive, ClientProtocol(parse_uri("ws://venue/stream"), state=OPEN))
    socket.connection_made(line)
    socket.response = Response(101, "", Headers())
    return socket
