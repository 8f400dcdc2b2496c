"""The grammar of `horizon_ms` in routing rules. Knows nothing of rules or models."""

from __future__ import annotations

import re
from typing import NamedTuple

_TERM = re.compile(r"^(?:(?P<op><=|>=|<|>|=)?\s*(?P<n>\d+)|(?P<low>\d+)\s*-\s*(?P<high>\d+)|(?P<any>\*))$")


class Horizon(NamedTuple):
    """The horizons from `low` to `high`, both included, in ms; `high` None has no end."""

    low: int
    high: int | None

    def holds(self, horizon_ms: int) -> bool:
        """Whether `horizon_ms` is in it."""
        return self.low <= horizon_ms and (self.high is None or horizon_ms <= self.high)


def parse_horizon(text: str) -> Horizon:
    """Return the horizons that `text` names: ``<N <=N >N >=N =N N A-B *``, joined by ``&``.

    Raises
    ------
    ValueError
        If a term is not readable, or no horizon fits all terms.

    Examples
    --------
    >>> parse_horizon(">=1000&<60000"), parse_horizon("*"), parse_horizon("5-10")
    (Horizon(low=1000, high=59999), Horizon(low=0, high=None), Horizon(low=5, high=10))
    """
    low, high = 0, None
    for term in text.split("&"):
        term_low, term_high = _bounds(term.strip(), text)
        low = max(low, term_low)
        if term_high is not None:
            high = term_high if high is None else min(high, term_high)
    if high is not None and low > high:
        raise ValueError(f"no horizon fits {text!r}")
    return Horizon(low, high)


def _bounds(term: str, text: str) -> tuple[int, int | None]:
    match = _TERM.match(term)
    if match is None:
        raise ValueError(f"horizon {text!r} is not readable at {term!r}; terms are <N <=N >N >=N =N A-B * joined by &")
    if match["any"]:
        return 0, None
    if match["low"]:
        return int(match["low"]), int(match["high"])
    number = int(match["n"])
    return {
        "<": (0, number - 1),
        "<=": (0, number),
        ">": (number + 1, None),
        ">=": (number, None),
    }.get(match["op"] or "=", (number, number))
