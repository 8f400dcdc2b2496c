"""`edgefleet replay`: a tape through the fleet's own stages in this process, and the report of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import msgspec

from edgefleet.clock import NS_PER_MS, SYSTEM
from edgefleet.errors import Misuse
from edgefleet.ids import body_hash
from edgefleet.instruments import split_id
from edgefleet.matching.exchange import Execution, Fees, SimExchange
from edgefleet.matching.recorded import RecordedMarket
from edgefleet.matching.stocks import StockEvent, stock_rules
from edgefleet.params.files import load_fleet
from edgefleet.params.schema import FleetConfig
from edgefleet.replay.fleet import InProcessFleet, exchange_for
from edgefleet.replay.report import SessionReport, VenueBooks
from edgefleet.stage import Output
from edgefleet.venues.alpaca.feed import AlpacaFeed
from edgefleet.venues.binance.dialect import BOOK_LEVELS
from edgefleet.venues.binance.feed import BinanceFeed, wire_symbol
from edgefleet.venues.tape import check_tape, read_tape
from edgefleet.venues.taq import is_taq, read_taq
from edgefleet_services.venue.alpaca import views as stock_views
from edgefleet_services.venue.views import whole_book

START = Decimal(100_000)
_TELL_EVERY = 20_000
_SNAPSHOT = b'{"lastUpdateId"'  # a recorded REST answer: what asked for it stood outside the connection

Step = tuple[Iterable[Execution], Iterable[Output]]


class Recording(Protocol):
    """A recorded market, its feed and the exchange that orders meet."""

    venue: str
    exchange: SimExchange
    first_ns: int

    def play(self) -> Iterator[Step]:
        """Yield, for each thing recorded, what it did to resting orders and what the feed made of it."""
        ...

    def end(self) -> list[Output]:
        """Return what closes the tape."""
        ...


def replay_tape(
    files: Sequence[Path], conf_dir: Path, symbols: tuple[str, ...], *, seed: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Return the session report of a replay.

    Raises
    ------
    Misuse
        If the tape cannot be read, or a symbol is not on it, or the configuration does not know the symbol.
    """
    config = load_fleet(conf_dir)
    started = SYSTEM.wall_ns()
    is_stock = bool(files) and all(is_taq(path) for path in files)
    recording: Recording = (StockTape if is_stock else BinanceTape)(files, config, symbols)
    report = SessionReport()
    fleet = InProcessFleet(config, recording.venue, recording.exchange, report.take)
    fleet.open(recording.first_ns)
    for number, (executions, outputs) in enumerate(recording.play(), start=1):
        fleet.on_executions(executions)
        fleet.on_market(outputs)
        if number % _TELL_EVERY == 0:
            progress(f"replay     {number} events")
    fleet.on_market(recording.end())
    fleet.close()
    session = f"replay-{body_hash([config.hash, [str(path.name) for path in files], symbols, seed])[:12]}"
    return report.build(
        session=session,
        mode="replay",
        quote=config.risk_harmonizer.fleet_limits.quote,
        instruments=[f"{symbol}@{recording.venue}" for symbol in symbols],
        started_ns=started,
        ended_ns=SYSTEM.wall_ns(),
        venue_books={
            recording.venue: VenueBooks(
                balances={asset: held.total for asset, held in recording.exchange.account().items() if held.total},
                trades=fleet.venue_trades(),
            )
        },
        restarts={},
    )


class BinanceTape:
    """Recorded Binance wire: frames for the feed, the same frames for the exchange."""

    venue = "sim"

    def __init__(self, files: Sequence[Path], config: FleetConfig, symbols: tuple[str, ...]) -> None:
        summary = check_tape(files)
        absent = [symbol for symbol in symbols if symbol.replace("/", "") not in summary.symbols]
        if absent:
            raise Misuse(f"symbol {', '.join(absent)} is not on the tape; it has {', '.join(summary.symbols)}")
        if not summary.snapshots:
            raise Misuse("the tape has no depth snapshot, so no book can begin; record one beside the stream")
        self.exchange = exchange_for(config, self.venue, symbols, {"USDT": START})
        self.first_ns = summary.first_ns
        self._files, self._symbols, self._last_ns = files, symbols, summary.last_ns
        interval_ms = config.fleet.touch_interval_ms
        self._feed = BinanceFeed(self.venue, symbols, touch_interval_ms=interval_ms, waits_for_books=True)
        self._feed.set_quality(config.features.quality)

    def play(self) -> Iterator[Step]:
        """Yield what each line did."""
        feed = self._feed
        for line in read_tape(self._files):
            executions = self.exchange.on_line(line.stamp_ns, line.body, symbol=line.book_of)
            if line.body.startswith(_SNAPSHOT):
                yield executions, feed.on_snapshot(self._whose(line.book_of), line.body, line.stamp_ns)
            else:
                yield executions, feed.on_frame(line.stamp_ns, line.body, line.stamp_ns)
            while feed.lost:  # a snapshot may let frames go among which the next book is lost
                for instrument, update_id in feed.lost.items():
                    yield (), feed.on_snapshot(instrument, self._book_as_of(instrument, update_id), line.stamp_ns)

    def end(self) -> list[Output]:
        """Return the last touches and the status that closes the tape."""
        return self._feed.on_end(self._last_ns)

    def _whose(self, name: str | None) -> str:
        """Return whose a recorded REST book is: by its address, else the only symbol's."""
        followed = {wire_symbol(symbol): symbol for symbol in self._symbols}
        return f"{self._symbols[0] if name is None else followed.get(name, name)}@{self.venue}"

    def _book_as_of(self, instrument: str, update_id: int) -> bytes:
        """Return what the simulated venue answers to a consumer that lost its book after `update_id`."""
        book = self.exchange.markets[wire_symbol(split_id(instrument)[0])].book.as_of(update_id)
        return msgspec.json.encode(whole_book(book, BOOK_LEVELS))


class StockTape:
    """Recorded prints and quotes of one stock in TAQ's columns, put on Alpaca's wire for Alpaca's feed."""

    venue = "alpaca"

    def __init__(self, files: Sequence[Path], config: FleetConfig, symbols: tuple[str, ...]) -> None:
        first = next(read_taq(files), None)
        if first is None:
            raise Misuse(f"{', '.join(str(path) for path in files)}: no trade and no quote in it")
        if symbols != (f"{first.symbol}/USD",):
            raise Misuse(
                f"symbol {', '.join(symbols)} is not on the tape; it has {first.symbol}: --symbols {first.symbol}"
            )
        params = config.venues.venues.get(self.venue)
        if params is None:
            raise Misuse("venue 'alpaca' is not in conf/venues; add it there: a stock trades at its fees")
        fees = Fees(params.maker_fee, params.taker_fee, in_quote=True)
        self.exchange = SimExchange([stock_rules(first.symbol)], {"USD": START}, fees)
        self.exchange.markets = {first.symbol: RecordedMarket(top_only=True)}
        self.first_ns = self._last_ns = first.ts_ns
        self._files = files
        interval_ms = config.fleet.touch_interval_ms
        self._feed = AlpacaFeed(self.venue, symbols, touch_interval_ms=interval_ms)
        self._feed.set_quality(config.features.quality)

    def play(self) -> Iterator[Step]:
        """Yield what each print and each change of the best bid and offer did."""
        for event in read_taq(self._files):
            self._last_ns = event.ts_ns
            self.exchange.market_time_ms = max(self.exchange.market_time_ms, event.ts_ns // NS_PER_MS)
            executions = () if event.frame is None else self.exchange.on_frame(event.frame, symbol=event.symbol)
            frame = _on_the_wire(event)
            yield executions, () if frame is None else self._feed.on_frame(event.ts_ns, frame, event.ts_ns)

    def end(self) -> list[Output]:
        """Return the last touches and the status that closes the tape."""
        return self._feed.on_end(self._last_ns)


def _on_the_wire(event: StockEvent) -> bytes | None:
    """Return an event as Alpaca's stream carries it."""
    if event.trade is not None:
        return msgspec.json.encode(stock_views.streamed("t", event.symbol, stock_views.trade(event.trade)))
    if event.quote is not None:
        return msgspec.json.encode(stock_views.streamed("q", event.symbol, stock_views.quote(event.quote)))
    return None
