"""A book channel of OKX in memory: what it would push, and what its book was after each number, by the definition."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from zlib import crc32

NAME = "BTC-USDT"
Sides = tuple[dict[str, str], dict[str, str]]


@dataclass
class OkxMarket:
    """Prices are whole numbers, sizes as given; `numbered` and `summed` say what proofs its frames carry."""

    numbered: bool = True
    summed: bool = True
    number: int = 10
    bids: dict[str, str] = field(default_factory=lambda: {"99": "1", "98": "2.50"})
    asks: dict[str, str] = field(default_factory=lambda: {"101": "1.0", "102": "3"})
    states: list[tuple[int, Sides]] = field(default_factory=list)

    def snapshot(self) -> bytes:
        """Return the push that begins a book."""
        rows = [[[price, size, "0", "1"] for price, size in side.items()] for side in (self.bids, self.asks)]
        return self._push("snapshot", rows[0], rows[1], -1)

    def update(self, *changes: tuple[str, str, str], number: int | None = None) -> bytes:
        """Return the push after `changes`: side, price, size."""
        rows: dict[str, list[list[str]]] = {"bids": [], "asks": []}
        for side, price, size in changes:
            book = self.bids if side == "bids" else self.asks
            if float(size) == 0:
                book.pop(price, None)
            else:
                book[price] = size
            rows[side].append([price, size, "0", "1"])
        previous, self.number = self.number, self.number + 5 if number is None else number
        return self._push("update", rows["bids"], rows["asks"], previous)

    def nothing(self) -> bytes:
        """Return the push that says the connection lives."""
        return self._push("update", [], [], self.number)

    def checksum(self) -> int:
        """Return the sum of the best 25 levels: bid, ask, bid, ask, as far as there are any."""
        bids = sorted(self.bids.items(), key=lambda level: -float(level[0]))[:25]
        asks = sorted(self.asks.items(), key=lambda level: float(level[0]))[:25]
        words = []
        for i in range(25):
            words += [word for side in (bids, asks) if i < len(side) for word in side[i]]
        value = crc32(":".join(words).encode())
        return value - 2**32 if value > 2**31 - 1 else value

    def _push(self, action: str, bids: list[list[str]], asks: list[list[str]], previous: int) -> bytes:
        data: dict[str, object] = {"asks": asks, "bids": bids, "ts": str(1_700_000_000_000 + len(self.states) * 100)}
        data["checksum"] = self.checksum() if self.summed else 0
        if self.numbered:
            data |= {"prevSeqId": previous, "seqId": self.number}
        self.states.append((self.number, (dict(self.bids), dict(self.asks))))
        frame = {"arg": {"channel": "books", "instId": NAME}, "action": action, "data": [data]}
        return json.dumps(frame, separators=(",", ":")).encode()
