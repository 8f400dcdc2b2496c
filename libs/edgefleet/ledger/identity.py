"""Whether the books agree with a venue, to the last digit. Knows nothing of how the balances were fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Protocol

import msgspec

from edgefleet.instruments import split_id
from edgefleet.ledger.exact import add, multiply, subtract, total
from edgefleet.messages import Balance
from edgefleet.units import ZERO


class Execution(Protocol):
    """What a `Fill` and a `VenueTrade` have in common."""

    @property
    def account(self) -> str: ...
    @property
    def instrument(self) -> str: ...
    @property
    def order_id(self) -> str: ...
    @property
    def trade_id(self) -> str: ...
    @property
    def side(self) -> str: ...
    @property
    def quantity(self) -> Decimal: ...
    @property
    def price(self) -> Decimal: ...
    @property
    def fee(self) -> Decimal: ...
    @property
    def fee_asset(self) -> str: ...


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The four figures of a session report that must all be zero."""

    cash_and_inventory_balance: Decimal
    ledger_minus_venue: Decimal
    fills_not_at_venue: int
    venue_trades_not_in_ledger: int

    @property
    def holds(self) -> bool:
        """Return whether every figure is zero."""
        return not any(
            (
                self.cash_and_inventory_balance,
                self.ledger_minus_venue,
                self.fills_not_at_venue,
                self.venue_trades_not_in_ledger,
            )
        )


@lru_cache(maxsize=1_024)  # asked several times for each instrument of each statement
def assets(instrument: str) -> tuple[str, str]:
    """Return the base and the quote asset of an instrument id."""
    base, _, rest = split_id(instrument)[0].partition("/")
    return base, rest.partition(":")[0]


def execution_key(execution: Execution) -> tuple[str, str, str, str]:
    """Return what makes an execution unique.

    Venues number trades per instrument, and a self-trade gives both of its orders the same number, so account,
    instrument and order belong to the name.
    """
    return execution.account, execution.instrument, execution.order_id, execution.trade_id


def changes(execution: Execution) -> dict[str, Decimal]:
    """Return what one execution does to each asset: base, quote, and the fee in its own asset."""
    base, quote = assets(execution.instrument)
    notional = multiply(execution.quantity, execution.price)
    bought = execution.side == "buy"
    result = {
        base: execution.quantity if bought else -execution.quantity,
        quote: -notional if bought else notional,
    }
    result[execution.fee_asset] = subtract(result.get(execution.fee_asset, ZERO), execution.fee)
    return result


def after(start: Mapping[str, Decimal], executions: Iterable[Execution]) -> dict[str, Decimal]:
    """Return the balances that follow from `start` and the executions, each counted once."""
    balances, seen = dict(start), set()
    for execution in executions:
        key = execution_key(execution)
        if key in seen:
            continue
        seen.add(key)
        for asset, change in changes(execution).items():
            balances[asset] = add(balances.get(asset, ZERO), change)
    return balances


def imbalance(left: Mapping[str, Decimal], right: Mapping[str, Decimal]) -> Decimal:
    """Return the sum over all assets of the absolute difference; exactly 0 when both hold the same."""
    names = sorted({*left, *right})
    return total(abs(subtract(left.get(name, ZERO), right.get(name, ZERO))) for name in names)


def amounts(balances: Mapping[str, Balance]) -> dict[str, Decimal]:
    """Return free plus locked of each asset, without the assets that are zero."""
    sums = {asset: add(balance.free, balance.locked) for asset, balance in balances.items()}
    return {asset: amount for asset, amount in sums.items() if amount}


def check(
    *,
    start: Mapping[str, Decimal],
    end: Mapping[str, Decimal],
    venue_trades: Iterable[Execution],
    ledger: Mapping[str, Decimal],
    fills: Iterable[Execution],
) -> Identity:
    """Return how the venue's account agrees with itself and with the books.

    `start`, `end` and `venue_trades` are the venue's own word; `ledger` and `fills` are ours.
    """
    trades = list(venue_trades)
    theirs, ours = {execution_key(trade) for trade in trades}, {execution_key(fill) for fill in fills}
    return Identity(
        cash_and_inventory_balance=imbalance(end, after(start, trades)),
        ledger_minus_venue=imbalance(ledger, end),
        fills_not_at_venue=len(ours - theirs),
        venue_trades_not_in_ledger=len(theirs - ours),
    )
