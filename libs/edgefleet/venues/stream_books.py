"""Books that come on the connection itself: begun by a snapshot frame, kept by deltas, asked for anew when lost.

An adapter says what its frames mean; what follows for the book, for the re-subscription and for what is still waited
for is decided here. Opens no socket, reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypeVar

from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.messages.market import Level
from edgefleet.stage import Output
from edgefleet.venues.feed import FUTURE_NS, FeedCore, Followed
from edgefleet.venues.top_watch import TopWatch

# A book that is lost again and again is asked for at longer and longer intervals: a venue counts subscriptions.
_MAX_WAIT_NS = 60 * NS_PER_S
# Stamps so near are of one moment: a venue's clocks differ by less, and a connection reorders nothing by itself.
SAME_MOMENT_NS = NS_PER_MS
_STEADY_NS = 60 * NS_PER_S  # a book that stood for so long was no failure


class StreamBook(Followed):
    """An instrument whose book comes on the connection."""

    __slots__ = ("begun_ns", "book_ts", "losses", "sent_ts", "watch")

    def __init__(self, name: str, instrument: str, trace: str) -> None:
        super().__init__(name, instrument, trace)
        self.book_ts = 0  # the venue's stamp of the newest change; 0: the snapshot had none, and no change came
        self.sent_ts = 0  # the stamp of the last message of the book
        self.begun_ns: int | None = None  # receive stamp of the snapshot
        self.losses = 0  # in a row
        self.watch = TopWatch()

    def lose_book(self) -> None:
        """Know nothing of the book any more, nor of its top: a stale one would look fresh beside other frames."""
        super().lose_book()
        self.top = None
        self.top_id = 0
        self.top_dirty = False
        self.watch.forget()


S = TypeVar("S", bound=StreamBook)


class StreamBookFeed(FeedCore[S]):
    """What feeds with books on the connection build on. An adapter supplies `book_requests` beside `FeedCore`'s."""

    def __init__(self, venue: str, symbols: Iterable[str], *, touch_interval_ms: int = 100) -> None:
        super().__init__(venue, symbols, touch_interval_ms=touch_interval_ms)
        self._bookless: dict[str, None] = {}  # asked for on this connection, not begun
        self._due: dict[str, int] = {}  # when to ask for a lost book, ns of ingestion's clock
        self._unstamped: dict[str, tuple[tuple[Level, ...], tuple[Level, ...], int, int]] = {}

    # --- what an adapter supplies

    def book_requests(self, names: Sequence[str]) -> list[str]:
        """Return the texts that end the books of `names` and ask for them anew, and for nothing else."""
        raise NotImplementedError

    def doubted(self, raw: bytes) -> Iterable[S]:
        """Return the books that a frame which could not be read may have changed; none where the next frame tells."""
        return ()

    # --- what drives it

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Return the instruments that said nothing yet on this connection, or whose book has not begun."""
        return tuple(
            one.instrument
            for name, one in self._followed.items()
            if name in self._unconfirmed or name in self._bookless
        )

    def on_connect(self, stamp_ns: int) -> None:
        """Take note that a connection is up. An instrument is confirmed when its book has begun."""
        super().on_connect(stamp_ns)
        self._bookless = dict.fromkeys(self._followed)
        self._due = {}

    def ask_again(self) -> None:
        """Ask once more for what said nothing, and for the books alone of what did."""
        silent = list(self._unconfirmed)
        if silent:
            self._requests += self.subscriptions(silent)
        bookless = [name for name in self._bookless if name not in self._unconfirmed and name not in self._due]
        if bookless:
            self._requests += self.book_requests(bookless)

    def on_silence(self, now_ns: int) -> list[Output]:
        """Return the beats that fell due by `now_ns` although no frame came. Live only: frames are a tape's clock."""
        self._ask_for_due(now_ns)
        return super().on_silence(now_ns)

    def on_disconnect(self, reason: str, ts_init: int) -> list[Output]:
        """Return the status that tells of a lost connection, and begin every book anew."""
        self._unstamped = {}
        self._due = {}
        self._bookless = {}
        self._requests = []
        return super().on_disconnect(reason, ts_init)

    # --- what an adapter calls

    def take(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Count a frame, let the beats before it go, and read it."""
        if self._due:
            self._ask_for_due(stamp_ns)
        before = self.counts.undecodable
        super().take(stamp_ns, raw, ts_init, out)
        if self.counts.undecodable != before:
            for followed in self.doubted(raw):
                if followed.synced or followed.name in self._unstamped:
                    self.give_up(followed, "a frame could not be read", stamp_ns, ts_init, out)

    def hear_stamp_of(
        self, followed: S | None, stamp: int, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> bool:
        """Take the venue's stamp of a frame; return False, refusing the frame, where no venue can have set it.

        A book that waited for a first stamp of its instrument begins with it.
        """
        if stamp > stamp_ns + FUTURE_NS:
            self.refuse(raw, f"its stamp, {stamp}, is more than a day after it came")
            return False
        if self._last_stamp is None or stamp > self._last_stamp:
            self._last_stamp = stamp
        if self._reconnected:
            self.connected(ts_init, out)
        if self._unstamped and followed is not None:
            waiting = self._unstamped.pop(followed.name, None)
            if waiting is not None:
                bids, asks, received_ns, received = waiting
                self._begin(followed, bids, asks, stamp, received_ns, received, out)
                followed.book_ts = 0  # the stamp is of another stream, which may be ahead of the book's
        return True

    def begin_book(
        self,
        followed: S,
        bids: tuple[Level, ...],
        asks: tuple[Level, ...],
        stamp: int | None,
        stamp_ns: int,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Begin a book from a plausible snapshot.

        Where it carries no stamp of the venue's (`stamp` is None) it waits for a frame of its instrument that does:
        the stamps of others may be later than those of the changes that follow it.
        """
        if stamp is None:
            self._unstamped[followed.name] = (bids, asks, stamp_ns, ts_init)
        else:
            self._begin(followed, bids, asks, stamp, stamp_ns, ts_init, out)

    def change_book(
        self,
        followed: S,
        bids: tuple[Level, ...],
        asks: tuple[Level, ...],
        stamp: int,
        stamp_ns: int,
        ts_init: int,
        out: list[Output],
    ) -> bool:
        """Apply a plausible delta that is next, and send the top where it moved; return False where it crossed."""
        number = followed.update_id + 1
        followed.book_ts = max(followed.book_ts, stamp)
        followed.sent_ts = at = max(followed.sent_ts, stamp)
        if not self.apply_delta(followed, bids, asks, number, number, at, ts_init, out):
            self.give_up(followed, "its best bid is not below its best ask", stamp_ns, ts_init, out)
            return False
        self.quote_from_book(followed, at, ts_init, out)
        if followed.watch.doubts and followed.top is not None:
            followed.watch.changed(followed.top[0], followed.top[2])
        return True

    def weigh_top(
        self,
        followed: S,
        bid: Decimal,
        ask: Decimal,
        stamp: int,
        stamp_ns: int,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Take the venue's own top, and give the book up where it refutes it; one from before the book cannot."""
        self.compare_top(followed, bid, ask)
        top = followed.book.top() if followed.synced else None
        if top is None or not 0 < followed.book_ts <= stamp:
            return
        if followed.watch.compare((top[0], top[2]), (bid, ask), stamp):
            reason = f"the venue says {bid} and {ask}, the book {top[0]} and {top[2]}, for too long"
            self.give_up(followed, reason, stamp_ns, ts_init, out)

    def give_up(self, followed: S, reason: str, stamp_ns: int, ts_init: int, out: list[Output]) -> None:
        """Lose a book, and ask for it anew: at once the first time, later where it was lost soon after it began."""
        if followed.begun_ns is not None and stamp_ns - followed.begun_ns > _STEADY_NS:
            followed.losses = 0
        self.lose(followed, reason, ts_init, out)
        self._unstamped.pop(followed.name, None)
        self._bookless[followed.name] = None
        wait_ns = min(((1 << min(followed.losses, 10)) - 1) * NS_PER_S, _MAX_WAIT_NS)
        followed.losses += 1
        if wait_ns:
            self._due[followed.name] = stamp_ns + wait_ns
        else:
            self._requests += self.book_requests([followed.name])

    def _begin(
        self,
        followed: S,
        bids: tuple[Level, ...],
        asks: tuple[Level, ...],
        stamp: int,
        stamp_ns: int,
        ts_init: int,
        out: list[Output],
    ) -> None:
        bids = tuple(sorted((level for level in bids if level[1]), reverse=True))
        asks = tuple(sorted(level for level in asks if level[1]))
        if bids and asks and bids[0][0] >= asks[0][0]:
            self.counts.book_crossed += 1
            followed.counts.crossed += 1
            reason = f"its snapshot is crossed: {bids[0][0]} and {asks[0][0]}"
            self.give_up(followed, reason, stamp_ns, ts_init, out)
            return
        followed.watch.forget()
        # The venue numbers nothing: counted from its microseconds, numbers grow over a restart of ours too.
        self.load_book(followed, bids, asks, max(followed.update_id + 1, stamp // 1_000), stamp, ts_init, out)
        followed.book_ts = followed.sent_ts = stamp
        followed.begun_ns = stamp_ns
        self._bookless.pop(followed.name, None)
        self._due.pop(followed.name, None)
        self.quote_from_book(followed, stamp, ts_init, out)

    def _ask_for_due(self, now_ns: int) -> None:
        due = [name for name, at in self._due.items() if at <= now_ns]
        for name in due:
            del self._due[name]
        if due:
            self._requests += self.book_requests(due)
