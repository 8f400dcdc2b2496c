"""Which prints of US stocks are a last price, and who began them. Knows conditions, prices and quotes, no frames.

By the processing guidelines of both consolidated tapes (CTS for tapes A and B, UTP for C) a condition says whether a
print may change the consolidated last price. Those that may not count to the day's volume and say little of the market
at their moment: averages, odd lots, contingent and derived prices, prints of other settlement or out of sequence, and
all outside of the regular session. Alpaca takes its bars' closes by the same guidelines ("Stock Minute Bars").
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from edgefleet.venues.feed import Aggressor

EXTENDED_HOURS: Final = "T"

# C cash, G bunched sold, H price variation, I odd lot, M and Q official close and open (no trades of their own),
# N next day, P prior reference price, R seller, T extended hours, U extended hours out of sequence, V contingent,
# W average price, Z out of sequence, 4 derivatively priced, 7 qualified contingent, 9 corrected close (no trade).
_NOT_LAST: Final = frozenset("CGHIMNPQRTUVWZ479")
_NOT_LAST_CTS: Final = _NOT_LAST | {"B"}  # average price; on UTP it is a bunched trade, which is a last price
_NOT_LAST_UTP: Final = _NOT_LAST | {"E"}  # held for future use; on CTS it is an automatic execution
_CTS_TAPES: Final = frozenset("AB")


def is_last(conditions: Iterable[str], tape: str, *, extended_hours: bool = False) -> bool:
    """Return whether a print may change the last price.

    `extended_hours` lets prints before and after the regular session do so too.

    >>> is_last(["@"], "C"), is_last(["@", "F"], "C"), is_last(["@", "F", "T", "I"], "C"), is_last(["B"], "A")
    (True, True, False, False)
    """
    without = _NOT_LAST_CTS if tape in _CTS_TAPES else _NOT_LAST_UTP
    for condition in conditions:
        if condition in without and not (extended_hours and condition == EXTENDED_HOURS):
            return False
    return True


class Sides:
    """Who began the prints of one stock, which the tape does not say: by the quote, else by the last change of price.

    The rule of C. Lee and M. Ready, "Inferring Trade Direction from Intraday Data", Journal of Finance 46 (1991): above
    the midpoint a buy, below it a sell; at the midpoint as the price last moved. It is wrong for some one in seven.
    """

    __slots__ = ("_last", "_moved")

    def __init__(self) -> None:
        self._last: Decimal | None = None
        self._moved: Aggressor | None = None

    def of(self, price: Decimal, bid: Decimal | None, ask: Decimal | None) -> Aggressor | None:
        """Return the side that began a print, None where neither quote nor an earlier price tells, and remember it."""
        if self._last is not None and price != self._last:
            self._moved = "buy" if price > self._last else "sell"
        self._last = price
        if bid is not None and ask is not None and 2 * price != bid + ask:
            return "buy" if 2 * price > bid + ask else "sell"
        return self._moved
