"""Order books and time bars. Knows nothing of venues, models or streams."""

from edgefleet.book.bars import BarBuilder, OpenBar
from edgefleet.book.book import Book, Side, Sweep, Top, imbalance, microprice, spread_bps
from edgefleet.book.leap import LeapGuard

__all__ = [
    "BarBuilder",
    "Book",
    "LeapGuard",
    "OpenBar",
    "Side",
    "Sweep",
    "Top",
    "imbalance",
    "microprice",
    "spread_bps",
]
