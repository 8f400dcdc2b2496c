"""Order books and time bars. Knows nothing of venues, models or streams."""

from edgefleet.book.bars import BarBuilder, OpenBar
from edgefleet.book.book import Book, Side, Top

__all__ = ["BarBuilder", "Book", "OpenBar", "Side", "Top"]
