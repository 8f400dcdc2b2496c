"""One account at one venue: what it holds, what that cost, what it earned. Knows nothing of streams or databases.

Profit is counted per session. An asset that a venue held before the session and that the books do not know comes in as
an *opening* lot whose cost is the first price seen, so what happened before is not called profit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from edgefleet.instruments import split_id
from edgefleet.ledger.exact import add, multiply, subtract, total
from edgefleet.ledger.identity import Execution, assets, changes
from edgefleet.ledger.lots import Lot, average_price, move, priced, quantity, unrealised
from edgefleet.units import ZERO


class TopOfBook(msgspec.Struct, frozen=True):
    """The prices at which a position could be closed."""

    bid: Decimal
    ask: Decimal
    ts: int  # ns since the epoch, market time

    def closing_price(self, held: Decimal) -> Decimal:
        """Return the bid for a long position, the ask for a short one."""
        return self.bid if held >= 0 else self.ask


class Holding(msgspec.Struct):
    """One instrument of a book."""

    lots: tuple[Lot, ...] = ()
    realised: Decimal = ZERO  # quote units, before fees, since the session began

    @property
    def quantity(self) -> Decimal:
        """Return the position, signed, in base units."""
        return quantity(self.lots)


class Book(msgspec.Struct, kw_only=True):
    """What one account at one venue holds."""

    account: str
    venue: str
    quote: str  # the asset that equity is counted in
    session: str
    balances: dict[str, Decimal]  # every asset, what we say it is
    start: dict[str, Decimal]  # the venue's word when the session's books opened
    venue_balances: dict[str, Decimal]  # the venue's newest word
    holdings: dict[str, Holding] = {}
    fees: dict[str, Decimal] = {}  # per fee asset, since the session began
    fees_in_quote: Decimal = ZERO  # those paid in base or quote, at the fill's price
    realised: Decimal = ZERO
    peak_equity: Decimal | None = None
    start_equity: Decimal | None = None
    start_unrealised: Decimal = ZERO  # of lots carried over from an earlier session
    fills: int = 0
    difference: dict[str, Decimal] = {}  # ours minus the venue's at its last word, where not zero


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A book valued at the touch. None where a price is missing: nothing is invented."""

    account: str
    venue: str
    session: str
    quote: str
    ts: int
    equity: Decimal | None
    start_equity: Decimal | None
    start_unrealised: Decimal
    realised: Decimal  # before fees
    unrealised: Decimal | None
    fees: dict[str, Decimal]
    fees_in_quote: Decimal
    drawdown: Decimal | None  # quote units below the session's highest equity, >= 0
    peak_equity: Decimal | None
    cash: dict[str, Decimal]
    unpriced: dict[str, Decimal]  # assets that equity leaves out because nothing prices them
    positions: tuple[PositionLine, ...]
    ledger_minus_venue: Decimal  # summed over assets in absolute value, when the venue last spoke
    fills: int


class PositionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument of a statement."""

    instrument: str
    quantity: Decimal
    average_price: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    value: Decimal | None  # quote units at the closing price
    realised: Decimal
    unrealised: Decimal | None


def open_book(
    before: Book | None,
    *,
    account: str,
    venue: str,
    session: str,
    balances: Mapping[str, Decimal],
    instruments: tuple[str, ...],
    ts: int,
) -> Book:
    """Return the book of a new session from the venue's balances.

    Lots that still agree with the venue are carried over with their cost; where they do not agree, the venue's quantity
    becomes one opening lot. `instruments` are those that may hold a base asset, most preferred first.
    """
    quote = assets(instruments[0])[1] if instruments else "USDT"
    held = _holdings(before, balances, instruments, ts)
    return Book(
        account=account,
        venue=venue,
        quote=quote,
        session=session,
        balances=dict(balances),
        start=dict(balances),
        venue_balances=dict(balances),
        holdings=held,
    )


def _holdings(
    before: Book | None, balances: Mapping[str, Decimal], instruments: tuple[str, ...], ts: int
) -> dict[str, Holding]:
    known = dict(before.holdings) if before is not None else {}
    quotes = {assets(instrument)[1] for instrument in instruments}
    result: dict[str, Holding] = {}
    for instrument in (*instruments, *sorted(set(known) - set(instruments))):
        base = assets(instrument)[0]
        siblings = [other for other in known if assets(other)[0] == base]
        if siblings and total(known[other].quantity for other in siblings) == balances.get(base, ZERO):
            result[instrument] = Holding(known[instrument].lots if instrument in known else ())
        elif base not in quotes and base not in {assets(other)[0] for other in result}:
            amount = balances.get(base, ZERO)
            result[instrument] = Holding((Lot(amount, None, ts, "opening"),) if amount else ())
        else:
            result[instrument] = Holding()
    return result


def book_execution(book: Book, execution: Execution, *, ts: int) -> Decimal:
    """Book one execution in place and return what it realised, in quote units before fees.

    A fee in the base asset leaves with the position, at the fill's price: buying 1 with a fee of 0.001 opens a lot of
    0.999. So ``equity - start equity = realised + (unrealised - unrealised at the start) - fees in quote`` holds
    exactly at every price.
    """
    for asset, change in changes(execution).items():
        book.balances[asset] = add(book.balances.get(asset, ZERO), change)
    base, quote = assets(execution.instrument)
    change = execution.quantity if execution.side == "buy" else -execution.quantity
    if execution.fee_asset == base:
        change = subtract(change, execution.fee)
    holding = book.holdings.setdefault(execution.instrument, Holding())
    moved = move(
        priced(holding.lots, execution.price),
        change,
        execution.price,
        at=ts,
        origin=f"{execution.order_id}/{execution.trade_id}",
    )
    holding.lots = moved.lots
    holding.realised = add(holding.realised, moved.realised)
    if quote == book.quote:
        book.realised = add(book.realised, moved.realised)
    book.fees[execution.fee_asset] = add(book.fees.get(execution.fee_asset, ZERO), execution.fee)
    in_quote = _fee_in_quote(execution, base, quote)
    if in_quote is not None and quote == book.quote:
        book.fees_in_quote = add(book.fees_in_quote, in_quote)
    book.fills += 1
    return moved.realised


def _fee_in_quote(execution: Execution, base: str, quote: str) -> Decimal | None:
    if execution.fee_asset == quote:
        return execution.fee
    if execution.fee_asset == base:
        return multiply(execution.fee, execution.price)
    return None


def price_openings(book: Book, instrument: str, top: TopOfBook) -> None:
    """Give opening lots of `instrument` their cost, the closing price of the first touch seen, in place."""
    holding = book.holdings.get(instrument)
    if holding is not None and any(lot.price is None for lot in holding.lots):
        holding.lots = priced(holding.lots, top.closing_price(holding.quantity))


def hear_venue(book: Book, balances: Mapping[str, Decimal]) -> None:
    """Note in place what the venue says it holds, and where that is not what the books say."""
    book.venue_balances = dict(balances)
    names = {*balances, *book.balances}
    differences = {name: subtract(book.balances.get(name, ZERO), balances.get(name, ZERO)) for name in sorted(names)}
    book.difference = {name: amount for name, amount in differences.items() if amount}


def state_equity(book: Book, touches: Mapping[str, TopOfBook]) -> Decimal | None:
    """Return quote cash plus every position of that quote at its closing price; None where one has no price."""
    value = book.balances.get(book.quote, ZERO)
    for instrument, holding in book.holdings.items():
        held = holding.quantity
        if not held or assets(instrument)[1] != book.quote:
            continue
        top = touches.get(instrument)
        if top is None:
            return None
        value = add(value, multiply(held, top.closing_price(held)))
    return value


def mark(book: Book, touches: Mapping[str, TopOfBook]) -> Decimal | None:
    """Value the book in place (start and peak equity are remembered) and return its equity."""
    equity = state_equity(book, touches)
    if equity is None:
        return None
    if book.start_equity is None:
        _note_start(book, touches, equity)
    if book.peak_equity is None or equity > book.peak_equity:
        book.peak_equity = equity
    return equity


def _note_start(book: Book, touches: Mapping[str, TopOfBook], equity: Decimal) -> None:
    open_profit = total(
        unrealised(holding.lots, touches[name].closing_price(holding.quantity))
        for name, holding in book.holdings.items()
        if holding.lots and name in touches and assets(name)[1] == book.quote
    )
    if not book.fills:
        book.start_equity, book.start_unrealised = equity, open_profit
        return
    # Executions came before the first touch: the start is what they left from.
    earned = subtract(add(book.realised, open_profit), book.fees_in_quote)
    book.start_equity = subtract(equity, earned)


def statement(book: Book, touches: Mapping[str, TopOfBook], ts: int) -> Statement:
    """Return the book as people read it."""
    lines = tuple(
        _line(name, holding, touches.get(name))
        for name, holding in sorted(book.holdings.items())
        if holding.lots or assets(name)[0] != book.quote  # what the account counts in is told as cash
    )
    equity = state_equity(book, touches)
    open_profits = [line.unrealised for line in lines if assets(line.instrument)[1] == book.quote]
    known = [profit for profit in open_profits if profit is not None]
    priced_bases = {assets(line.instrument)[0] for line in lines if assets(line.instrument)[1] == book.quote}
    return Statement(
        account=book.account,
        venue=book.venue,
        session=book.session,
        quote=book.quote,
        ts=ts,
        equity=equity,
        start_equity=book.start_equity,
        start_unrealised=book.start_unrealised,
        realised=book.realised,
        unrealised=total(known) if len(known) == len(open_profits) else None,
        fees=dict(book.fees),
        fees_in_quote=book.fees_in_quote,
        drawdown=_drawdown(book, equity),
        peak_equity=book.peak_equity,
        cash=_without(book.balances, priced_bases),
        unpriced={
            name: amount
            for name, amount in sorted(book.balances.items())
            if amount and name != book.quote and name not in priced_bases
        },
        positions=lines,
        ledger_minus_venue=total(abs(amount) for amount in book.difference.values()),
        fills=book.fills,
    )


def _drawdown(book: Book, equity: Decimal | None) -> Decimal | None:
    if equity is None or book.peak_equity is None:
        return None
    return subtract(max(book.peak_equity, equity), equity)


def _without(balances: Mapping[str, Decimal], names: set[str]) -> dict[str, Decimal]:
    return {name: amount for name, amount in sorted(balances.items()) if name not in names}


def _line(instrument: str, holding: Holding, top: TopOfBook | None) -> PositionLine:
    held = holding.quantity
    price = None if top is None else top.closing_price(held)
    return PositionLine(
        instrument=instrument,
        quantity=held,
        average_price=average_price(holding.lots),
        bid=None if top is None else top.bid,
        ask=None if top is None else top.ask,
        value=ZERO if not held else (None if price is None else multiply(held, price)),
        realised=holding.realised,
        unrealised=ZERO if not held else (None if price is None else unrealised(holding.lots, price)),
    )


def instruments_of(traded: Sequence[str], venue: str, known: Mapping[str, Holding]) -> tuple[str, ...]:
    """Return the instruments that a session may hold at `venue`: what it trades there, then what is held already."""
    wanted = tuple(instrument for instrument in traded if split_id(instrument)[1] == venue)
    return wanted + tuple(sorted(name for name in known if name not in wanted and split_id(name)[1] == venue))
