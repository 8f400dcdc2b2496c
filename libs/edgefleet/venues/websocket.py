"""A WebSocket that gives each message away as it comes: no queue between, no task that is woken for each.

Knows how a frame begins (RFC 6455, section 5.2), and no venue. What a venue nearly always sends, a whole message in one
frame, is cut straight out of what was read, where the library goes through four generators. All else is the library's:
the handshake, pings, the close, fragments, what is against the protocol, and the limit on a message's size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES
from websockets.frames import Frame as WireFrame
from websockets.protocol import CONNECTING, OPEN, Event

_WHOLE_TEXT, _WHOLE_BINARY = 0x81, 0x82  # the last frame of a message and its first, no reserved bit
_IN_2_BYTES, _IN_8_BYTES = 126, 127  # in place of a length: it follows in so many bytes
_LENGTH_BITS = 0x7F
_MOST_HEADER_BYTES = 10  # of a frame that is not masked; one that is ends the connection


class MessageSocket(ClientConnection):
    """A connection whose messages go to `receive`, in order; `recv` returns none of them. Text is not decoded.

    The library is given either all bytes of a frame or none, so that it stands between two frames whenever one is cut
    out here. A frame of more than 65,535 bytes is always the library's, so `max_size` must not be less.
    """

    def __init__(self, receive: Callable[[bytes], None], protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(protocol, **options)
        self._receive = receive
        self._fragments: list[bytes] = []
        self._begun = b""  # of the frame that the library has the beginning of, where its length is not known yet
        self._owed = 0  # bytes that are still to come of the frame that the library has the beginning of

    def data_received(self, data: bytes) -> None:
        """Take whole messages out of what was read, and leave the library what else there is."""
        if self.debug:  # the library's log names every frame
            super().data_received(data)
            return
        at, end = 0, len(data)
        while at < end:
            if self.protocol.state is OPEN and not (self._owed or self._begun or self._fragments):
                at = self._cut_out(data, at)
            if at < end:
                stop = self._end_of_part(data, at)
                super().data_received(data[at:stop])
                at = stop

    def process_event(self, event: Event) -> None:
        """Take one frame of a message; leave what else there is to the library."""
        if not isinstance(event, WireFrame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif event.fin and not self._fragments:
            self._receive(bytes(event.data))
        else:
            self._fragments.append(bytes(event.data))
            if event.fin:
                self._receive(b"".join(self._fragments))
                self._fragments = []

    def _cut_out(self, data: bytes, at: int) -> int:
        """Give away the whole messages that stand from `at` on, one after the other, and return where they end."""
        receive, end = self._receive, len(data)
        while end - at >= 4 and (data[at] == _WHOLE_TEXT or data[at] == _WHOLE_BINARY):
            length, begin = data[at + 1], at + 2
            if length == _IN_2_BYTES:
                length, begin = data[at + 2] << 8 | data[at + 3], at + 4
            elif length > _IN_2_BYTES:
                break
            if begin + length > end:
                break
            at = begin + length
            receive(data[begin:at])
        return at

    def _end_of_part(self, data: bytes, at: int) -> int:
        """Return where the part ends that begins at `at` and that the library is given at once.

        It ends with the frame where that is there, else with `data`, and what is missing is remembered. The handshake
        ends with a line. Once the connection is closing there is nothing left to cut.
        """
        if self.protocol.state is CONNECTING:
            return data.find(b"\n", at) + 1 or len(data)
        if self.protocol.state is not OPEN:
            return len(data)
        if not self._owed:
            begun = self._begun + data[at : at + _MOST_HEADER_BYTES]
            size = _frame_bytes(begun)
            if size is None:
                self._begun = begun
                return len(data)
            self._owed, self._begun = size - len(self._begun), b""
        stop = min(at + self._owed, len(data))
        self._owed -= stop - at
        return stop


def _frame_bytes(begun: bytes) -> int | None:
    """Return how many bytes the frame has that begins with `begun`, None where that does not tell."""
    if len(begun) < 2:
        return None
    length = begun[1] & _LENGTH_BITS
    if length < _IN_2_BYTES:
        return 2 + length
    header = 4 if length == _IN_2_BYTES else _MOST_HEADER_BYTES
    return None if len(begun) < header else header + int.from_bytes(begun[2:header], "big")
