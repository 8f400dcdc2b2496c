"""Alpaca's stock stream to messages: the best bid and ask, prints that are a last price, halts. No socket, no clock.

There is no book beyond the best prices: what leaves here is quotes, touches, trades and beats. A side that nobody
quotes, a crossed quote and a halt leave no top, so nobody trades on the one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from edgefleet.book import Top
from edgefleet.clock import NS_PER_S
from edgefleet.instruments import canonical_symbol
from edgefleet.stage import Output
from edgefleet.venues.alpaca import wire
from edgefleet.venues.alpaca.names import wire_symbol
from edgefleet.venues.alpaca.prints import Sides, is_last
from edgefleet.venues.feed import FeedCore, Followed
from edgefleet.venues.figures import is_plausible, is_size

# "Bid size in shares (round lots prior to November 3, 2025)", says the reference of stock quotes: midnight in New York.
SHARES_SINCE_NS: Final = 1_762_146_000_000_000_000
ROUND_LOT: Final = Decimal(100)
NS_PER_DAY: Final = 86_400 * NS_PER_S
REMEMBERED: Final = 10_000  # prints of one stock, to know one that comes again or is taken back

_HALTS: Final = frozenset({"2", "H", "P"})  # CTS halt; UTP halt and volatility pause
_RESUMES: Final = frozenset({"3", "T"})  # CTS resume; UTP trading resumption
_ALREADY_AUTHENTICATED: Final = 403

# Bars and price bands are asked for so that a recording holds them; nothing else is made of them.
_CHANNELS: Final = (("trades", "quotes"), ("bars", "updatedBars"), ("statuses", "lulds"))


class Stock(Followed):
    """A stock, with what its prints and quotes need."""

    __slots__ = ("is_halted", "seen", "sides")

    def __init__(self, name: str, instrument: str, trace: str) -> None:
        super().__init__(name, instrument, trace)
        self.is_halted = False
        self.sides = Sides()
        self.seen: dict[str, bool] = {}  # the last prints, and whether each was sent

    def begin_anew(self) -> None:
        super().begin_anew()
        self.is_halted = False


class AlpacaFeed(FeedCore[Stock]):
    """Frames of one connection in, `market` and `beats` messages out.

    Parameters
    ----------
    venue, symbols, touch_interval_ms
        As of every feed.
    key, secret
        What the connection says who we are with. Kept for that one text, shown nowhere.
    extended_hours
        Let prints before and after the regular session be trades.
    sizes_in
        `shares`, `round_lots`, or by the stamp of the quote (None): the venue changed it in November 2025.
    """

    def __init__(
        self,
        venue: str,
        symbols: Iterable[str],
        *,
        touch_interval_ms: int = 100,
        key: str = "",
        secret: str = "",
        extended_hours: bool = False,
        sizes_in: str | None = None,
    ) -> None:
        super().__init__(venue, symbols, touch_interval_ms=touch_interval_ms)
        self._keys = (key, secret)
        self._extended_hours = extended_hours
        self._sizes_in = sizes_in
        self._is_authenticated = False

    def spell(self, symbol: str) -> str:
        """Return ``AAPL`` for ``AAPL/USD``."""
        return wire_symbol(canonical_symbol(symbol))

    def follow(self, name: str, instrument: str, trace: str) -> Stock:
        """Return what is to be known of a stock."""
        return Stock(name, instrument, trace)

    def subscriptions(self, names: Sequence[str]) -> list[str]:
        """Return the texts that ask for `names`: apart, so that one refusal does not take all with it."""
        return [_text({"action": "subscribe"} | {key: list(names) for key in channels}) for channels in _CHANNELS]

    def on_connect(self, stamp_ns: int) -> None:
        """Take note that a connection is up: first of all it is told who we are."""
        super().on_connect(stamp_ns)
        self._is_authenticated = False
        key, secret = self._keys
        self._requests = [_text({"action": "auth", "key": key, "secret": secret})] if key else []

    def ask_again(self) -> None:
        """Ask once more for what has said nothing, unless we are not known yet."""
        if self._is_authenticated:
            super().ask_again()

    def handle(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Take each message of a frame; one that is not readable does not take the others with it."""
        found, wrong, unknown = wire.messages(raw)
        self.counts.unknown_events += unknown
        for reason in wrong:
            self.refuse(raw, reason)
        for message in found:
            try:
                self._take_message(message, stamp_ns, raw, ts_init, out)
            except msgspec.ValidationError as error:
                self.refuse(raw, str(error))

    def _take_message(self, message: wire.Message, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        if isinstance(message, wire.Quote):
            self._on_quote(message, stamp_ns, raw, ts_init, out)
        elif isinstance(message, wire.Trade):
            self._on_trade(message, stamp_ns, raw, ts_init, out)
        elif isinstance(message, wire.Success | wire.Refusal | wire.Subscription):
            self._on_control(message)
        else:
            self._on_other(message, stamp_ns)

    # --- of the connection

    def _on_control(self, message: wire.Success | wire.Refusal | wire.Subscription) -> None:
        if isinstance(message, wire.Refusal):
            if message.code == _ALREADY_AUTHENTICATED:
                self._authenticated()
            else:
                self._notices.append(f"{self.venue} refuses a request: {message.code} {message.msg}"[:200])
        elif isinstance(message, wire.Subscription):
            self._on_subscription(message)
        elif message.msg == "authenticated":
            self._authenticated()
        elif message.msg == "connected" and not self._keys[0]:
            self._notices.append(f"{self.venue} wants keys before it says anything, and none were given")

    def _authenticated(self) -> None:
        if not self._is_authenticated:
            self._is_authenticated = True
            self._requests += self.subscriptions(list(self._followed))

    def _on_subscription(self, message: wire.Subscription) -> None:
        for channel, given in (("trades", message.trades), ("quotes", message.quotes)):
            taken = set(given or ())
            missing = [] if "*" in taken else [name for name in self._followed if name not in taken]
            if missing:
                self._notices.append(f"{self.venue} does not send {channel} of {', '.join(missing)}")

    # --- of a stock

    def _on_quote(self, data: wire.Quote, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        followed = self.hear(data.S, stamp_ns)
        if followed is None:
            return
        stamp = wire.stamp_ns(data.t)
        if stamp < followed.update_id:
            self.counts.duplicates += 1
            return
        prices = (data.bp, data.ap)
        possible = all(is_size(value) for value in (*prices, data.bs, data.ask_size))
        if not possible or not self.take_stamp(stamp, stamp_ns):
            self.refuse(raw, "a price, size or stamp that cannot be")
            return
        self.connected(ts_init, out)
        if followed.is_halted or not all(prices):
            self.counts.one_sided += not followed.is_halted
            self._no_top(followed, stamp)
            return
        if data.bp >= data.ap:
            self.counts.book_crossed += 1
            followed.counts.crossed += 1
            self._no_top(followed, stamp)
            return
        if self.keeps_out(followed, followed.bids, data.bp) or self.keeps_out(followed, followed.asks, data.ap):
            return
        lot = self._lot(stamp)
        top: Top = (data.bp, data.bs * lot, data.ap, data.ask_size * lot)
        if stamp == followed.update_id and top == followed.top:
            self.counts.duplicates += 1
            return
        followed.update_id = stamp
        self.quote(followed, top, stamp, stamp, ts_init, out)
        self.set_top(followed, top, stamp)
        if followed.top_dirty:
            self.touch_if_due(followed, stamp, ts_init, out)

    def _no_top(self, followed: Stock, stamp: int) -> None:
        followed.update_id = stamp
        self.lose_top(followed)

    def _lot(self, stamp: int) -> Decimal:
        in_shares = stamp >= SHARES_SINCE_NS if self._sizes_in is None else self._sizes_in == "shares"
        return Decimal(1) if in_shares else ROUND_LOT

    def _on_trade(self, data: wire.Trade, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        followed = self.hear(data.S, stamp_ns)
        if followed is None:
            return
        stamp = wire.stamp_ns(data.t)
        trade_id = f"{data.x}{data.i}"
        key = _key(trade_id, stamp)
        if key in followed.seen:
            self.counts.duplicates += 1
            return
        if not is_last(data.c or (), data.z, extended_hours=self._extended_hours):
            self.counts.kept_out += 1
            self._remember(followed, key, sent=False)
            return
        if not (is_plausible(data.p) and is_plausible(data.s) and self.take_stamp(stamp, stamp_ns)):
            self.refuse(raw, "a price, size or stamp that cannot be")
            return
        if self.keeps_out(followed, followed.prints, data.p):
            return
        top = followed.top
        side = followed.sides.of(data.p, None if top is None else top[0], None if top is None else top[2])
        self._remember(followed, key, sent=side is not None)
        if side is None:
            self.counts.kept_out += 1
            return
        self.connected(ts_init, out)
        self.trade(followed, trade_id, data.p, data.s, side, stamp, ts_init, out)
        if followed.top_dirty:
            self.touch_if_due(followed, self._last_stamp or stamp, ts_init, out)

    def _remember(self, followed: Stock, key: str, *, sent: bool) -> None:
        followed.seen[key] = sent
        if len(followed.seen) > REMEMBERED:
            del followed.seen[next(iter(followed.seen))]

    def _on_other(self, message: wire.Data, stamp_ns: int) -> None:
        followed = self.hear(message.S, stamp_ns)
        if followed is None:
            return
        if isinstance(message, wire.Status):
            self._on_status(followed, message)
        elif isinstance(message, wire.Cancel):
            what = "cancelled" if message.a == "C" else "called an error"
            self._withdraw(followed, f"{message.x}{message.i}", message.t, f"was {what}: {message.s} at {message.p}")
        elif isinstance(message, wire.Correction):
            now = f"{message.os} at {message.op} was {message.cs} at {message.cp}"
            self._withdraw(followed, f"{message.x}{message.oi}", message.t, f"was corrected: {now}")

    def _withdraw(self, followed: Stock, trade_id: str, stamp: msgspec.Raw, what: str) -> None:
        """Tell of a print that was sent and is none: a stream holds what was said, so nothing is taken back."""
        self.counts.withdrawn += 1
        if followed.seen.get(_key(trade_id, wire.stamp_ns(stamp))):
            self._notices.append(f"print {trade_id} of {followed.instrument} {what}")

    def _on_status(self, followed: Stock, message: wire.Status) -> None:
        if message.sc in _HALTS:
            followed.is_halted = True
            self.lose_top(followed)
        elif message.sc in _RESUMES:
            followed.is_halted = False
        reason = f", {message.rc} {message.rm}".rstrip() if message.rc.strip() else ""
        self._notices.append(f"{followed.instrument}: {message.sm or message.sc}{reason}"[:200])


def _key(trade_id: str, stamp: int) -> str:
    """Return what tells a print apart: an exchange counts anew each day."""
    return f"{stamp // NS_PER_DAY}:{trade_id}"


def _text(request: dict[str, object]) -> str:
    return msgspec.json.encode(request).decode()
