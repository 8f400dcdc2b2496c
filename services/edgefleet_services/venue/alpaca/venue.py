"""A stock venue put together: its account, its market, its handlers. No arithmetic, no wire format."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgefleet.book.sessions import calendar_for
from edgefleet.clock import NS_PER_S, Clock, iso
from edgefleet.errors import Broken, FleetError, Misuse
from edgefleet.instruments import canonical_symbol
from edgefleet.matching.broker_account import CASH, BrokerState
from edgefleet.matching.broker_orders import not_found
from edgefleet.matching.brokerage import Brokerage
from edgefleet.matching.exchange import Fees
from edgefleet.matching.hours import Hours, Phase, Sessions, eastern, open_moment
from edgefleet.matching.stock_history import KEPT
from edgefleet.matching.synthetic_stocks import SyntheticStocks
from edgefleet.units import ZERO
from edgefleet.venues.taq import read_taq

from ..feeds import speed_factor
from ..market import Progress
from ..service import SAVE_EVERY_S, START_CASH, StateFile, VenueOptions, read_state
from .data import DataApi
from .feeds import MarketTime, advance, run_synthetic, run_tape
from .market import AlpacaMarket
from .simulation import SimulationApi
from .sockets import SocketApi
from .trading import TradingApi

log = structlog.get_logger()

OPENING = "O"  # the sale condition of the opening print


class AlpacaVenue:
    """A stock venue that is ready to be served: everything is checked and opened here, or an error is raised.

    Parameters
    ----------
    sessions
        The regular hours of its exchange; without them New York's.

    Raises
    ------
    Misuse
        For a symbol that is no US stock, an unreadable tape or state file, a bad speed, a tape of another symbol.
    """

    def __init__(self, options: VenueOptions, clock: Clock, sessions: Sessions | None = None) -> None:
        self.options = options
        self.clock = clock
        if options.market == "relay":
            raise Misuse("a stock venue relays no other: --market synthetic or tape")
        speed_factor(options.speed)
        symbols = [stock_symbol(symbol) for symbol in options.symbols]
        hours = Hours(new_york() if sessions is None else sessions)
        taped = options.market == "tape"
        fees = Fees(_or_none(options.maker_fee), _or_none(options.taker_fee))
        balances = {CASH: START_CASH} if options.balances is None else options.balances
        broker = Brokerage(symbols, balances, hours, fees, top_only=taped)
        self._source: SyntheticStocks | None = None
        progress = Progress(market=options.market, speed=options.speed)
        if taped:
            self._time = MarketTime(clock, None, "1")
            start_ns, progress.lines_total = _checked(options.tape, symbols, hours)
        else:
            begins_ns = options.start_ns
            if options.shift_ns is not None:
                begins_ns = clock.wall_ns() + options.shift_ns
            elif begins_ns is None:
                begins_ns = open_moment(hours, clock.wall_ns())
            self._time = MarketTime(clock, begins_ns, options.speed)
            start_ns = self._time.now_ns()
            past_ns = start_ns - options.warm_up_s * NS_PER_S
            self._source = SyntheticStocks(symbols, hours, seed=options.seed, start_ns=past_ns)
            broker.start(past_ns)
        if options.state_file is not None and options.state_file.exists():
            broker.account.load(read_state(options.state_file, BrokerState))
        if taped:
            broker.start(start_ns)
        # A tape ends, and is kept whole; a synthetic market goes on for ever.
        self.market = AlpacaMarket(broker, progress, start_ns, keep=progress.lines_total or KEPT)
        self._file = StateFile(options.state_file)
        simulation = SimulationApi(self.market)
        trading = TradingApi(self.market, clock, options.key, options.secret)
        data = DataApi(self.market, trading.gate)
        sockets = SocketApi(self.market, options.key, options.secret)
        rest = Route("/v2/{path:path}", trading.gate(_not_offered), methods=["GET", "POST", "PATCH", "PUT", "DELETE"])
        self.app = Starlette(routes=[*trading.routes(), *data.routes(), *simulation.routes(), *sockets.routes(), rest])

    async def open(self) -> None:
        """Let pass what lies before the first request: a synthetic market's past."""
        log.info("market_time", begins=iso(self.market.created_ns), phase=self.market.broker.moment().phase.value)
        if self._source is not None:
            await advance(self.market, self._source, self._time.now_ns())

    async def run_market(self) -> None:
        """Serve the market to its end; a failure is told in the status and closes the consumers."""
        try:
            if self._source is not None:
                await run_synthetic(self.market, self._source, self._time)
            else:
                await run_tape(self.market, read_taq(self.options.tape), self.clock)
        except Broken:
            raise
        except FleetError as error:
            self.market.fail(str(error))
            log.error("market_stopped", market=self.options.market, error=str(error))
        else:
            log.info("tape_ended", events=self.market.progress.lines_served)

    async def keep_saved(self) -> None:
        """Write the account to the state file whenever it changed, beside the loop: a disk may take its time."""
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            if self.market.changed:
                self.market.changed = False
                await asyncio.to_thread(self._file.write, msgspec.json.encode(self.market.broker.account.dump()))

    def save(self) -> None:
        """Write the account to the state file, if it is to be kept."""
        self._file.write(msgspec.json.encode(self.market.broker.account.dump()))


async def _not_offered(request: Request) -> Response:
    raise not_found(f"{request.method} {request.url.path} is not offered by the simulated venue")


def new_york() -> Sessions:
    """Return the regular hours of New York's exchanges, from the table this package ships."""
    return calendar_for("us_stocks")


def stock_symbol(symbol: str) -> str:
    """Return a stock as Alpaca writes it: `AAPL/USD` is `AAPL`. Raises `Misuse` for a pair that is no US stock."""
    base, _, quote = canonical_symbol(symbol).partition("/")
    if quote != CASH:
        raise Misuse(f"{symbol} is no US stock; the stock venue trades AAPL or AAPL/USD")
    return base


def _or_none(fee: Decimal | None) -> Decimal:
    return ZERO if fee is None else fee


def _checked(files: Sequence[Path], symbols: Sequence[str], hours: Hours) -> tuple[int, int]:
    """Return the first stamp and the number of events of a tape, all of it having been read."""
    first, events, found = 0, 0, ""
    for event in read_taq(files):
        first = first or event.ts_ns
        found = event.symbol
        events += 1
        if event.trade is not None and OPENING in event.trade.conditions:
            _check_opening(event.ts_ns, hours)
    if not events:
        raise Misuse(f"the tape is empty: {', '.join(str(path) for path in files)}")
    absent = [symbol for symbol in symbols if symbol != found]
    if absent:
        raise Misuse(f"the tape holds {found}, not {', '.join(absent)}")
    return first, events


def _check_opening(ts_ns: int, hours: Hours) -> None:
    """Raise `Misuse` where the opening print lies outside of the hours: the tape's clock is another than is thought."""
    if hours.at(ts_ns).phase is not Phase.REGULAR:
        raise Misuse(
            f"the tape's opening print stands at {eastern(ts_ns):%Y-%m-%d %H:%M} in New York, where the market is "
            "closed: DT is read as UTC; write it so"
        )
