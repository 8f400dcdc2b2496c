"""All accounts of a session as one, valued in one asset. For people to look at: nothing is booked from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.instruments import split_id
from edgefleet.ledger.books import Statement, TopOfBook
from edgefleet.ledger.exact import add, multiply, shown_ratio, subtract, total

_AS_OLD_NS: Final = 5 * NS_PER_S  # a rate that is older than another by more says nothing


class Together(msgspec.Struct, frozen=True, kw_only=True):
    """What all accounts come to; None where it is not known, and `why` says what is missing."""

    session: str
    quote: str
    ts: int
    accounts: tuple[str, ...]  # account@venue
    equity: Decimal | None
    realised: Decimal | None  # before fees
    realised_after_fees: Decimal | None
    unrealised: Decimal | None
    fees_in_quote: Decimal | None
    fees: dict[str, Decimal]
    drawdown: Decimal | None  # quote units below the session's highest equity, >= 0
    peak_equity: Decimal | None
    ledger_minus_venue: Decimal
    fills: int
    rates: dict[str, Decimal]  # by quote asset of an account: what a unit of it is worth, at the worse side
    why: str


def together(
    lines: Sequence[Statement], touches: Mapping[str, TopOfBook], quote: str, peak: Decimal | None, ts: int
) -> Together | None:
    """Return all accounts as one, None where there is none.

    One account is told in its own asset, with its own peak; of several, `peak` is the highest equity seen in `quote`.
    """
    if not lines:
        return None
    if len(lines) == 1:
        quote, peak = lines[0].quote, lines[0].peak_equity
    rates = {one.quote: worth(one.quote, quote, touches) for one in lines}
    missing = [asset for asset, rate in rates.items() if rate is None]
    unpriced = [f"{one.account}@{one.venue}" for one in lines if one.equity is None]
    equity = _sum([one.equity for one in lines], lines, rates)
    if equity is not None and (peak is None or equity > peak):
        peak = equity
    pairs = ", ".join(f"{asset}/{quote} or {quote}/{asset}" for asset in missing)
    why = f"no rate of {', '.join(missing)} in {quote}: trade or follow {pairs} at any venue" if missing else ""
    return Together(
        session=lines[0].session,
        quote=quote,
        ts=ts,
        accounts=tuple(f"{one.account}@{one.venue}" for one in lines),
        equity=equity,
        realised=_sum([one.realised for one in lines], lines, rates),
        realised_after_fees=_sum([subtract(one.realised, one.fees_in_quote) for one in lines], lines, rates),
        unrealised=_sum([one.unrealised for one in lines], lines, rates),
        fees_in_quote=_sum([one.fees_in_quote for one in lines], lines, rates),
        fees=_fees(lines),
        drawdown=None if equity is None or peak is None else subtract(peak, equity),
        peak_equity=peak,
        ledger_minus_venue=total(one.ledger_minus_venue for one in lines),
        fills=sum(one.fills for one in lines),
        rates={asset: rate.least for asset, rate in rates.items() if rate is not None},
        why=why or (f"no price yet: {', '.join(unpriced)}" if unpriced else ""),
    )


class Worth(NamedTuple):
    """What a unit of an asset is worth in another."""

    least: Decimal
    most: Decimal


def worth(asset: str, quote: str, touches: Mapping[str, TopOfBook]) -> Worth | None:
    """Return what a unit of `asset` is worth in `quote` by any venue's touch, None where no venue says.

    A touch that is older than another by more than five seconds says nothing.
    """
    if asset == quote:
        return Worth(Decimal(1), Decimal(1))
    found: list[tuple[int, Worth]] = []
    for instrument, top in touches.items():
        symbol = split_id(instrument)[0].partition(":")[0]
        if not 0 < top.bid <= top.ask:
            continue
        if symbol == f"{asset}/{quote}":
            found.append((top.ts, Worth(top.bid, top.ask)))
        elif symbol == f"{quote}/{asset}":
            found.append((top.ts, Worth(shown_ratio(Decimal(1), top.ask), shown_ratio(Decimal(1), top.bid))))
    newest = max((ts for ts, _ in found), default=0)
    fresh = [one for ts, one in found if ts >= newest - _AS_OLD_NS]
    return Worth(min(one.least for one in fresh), max(one.most for one in fresh)) if fresh else None


def _sum(
    amounts: Sequence[Decimal | None], lines: Sequence[Statement], rates: Mapping[str, Worth | None]
) -> Decimal | None:
    """Return the sum, what is owned at the least that it is worth and what is lost at the most."""
    result = Decimal(0)
    for amount, line in zip(amounts, lines, strict=True):
        rate = rates[line.quote]
        if amount is None or rate is None:
            return None
        result = add(result, multiply(amount, rate.least if amount >= 0 else rate.most))
    return result


def _fees(lines: Sequence[Statement]) -> dict[str, Decimal]:
    assets = sorted({asset for one in lines for asset in one.fees})
    return {asset: total(one.fees[asset] for one in lines if asset in one.fees) for asset in assets}
