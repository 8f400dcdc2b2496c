"""Exponential means of a sequence, one term at a time. Knows nothing of prices or of where terms come from."""

from __future__ import annotations

from typing import Literal

import msgspec

EmaSeed = Literal["sma", "first"]


class Ema(msgspec.Struct):
    """Exponential mean with ``alpha = 2/(span + 1)``: each term moves it by ``alpha`` of the distance.

    How it begins is a convention. ``sma``: the first `span` terms make a plain mean, and there is no value before that
    (TA-Lib). ``first``: the first term is the first value. `skip` terms are passed over before either.
    """

    span: int
    seed: EmaSeed = "sma"
    skip: int = 0
    count: int = 0  # terms that were not skipped
    total: float = 0.0  # of the terms that make the first mean
    value: float | None = None

    def update(self, term: float) -> float | None:
        """Take a term and return the mean, None before the first."""
        if self.skip > 0:
            self.skip -= 1
            return None
        value = self.value
        if value is not None:
            self.value = (term - value) * (2.0 / (self.span + 1)) + value
        elif self.seed == "first":
            self.value = term
        else:
            self.count += 1
            self.total += term
            if self.count == self.span:
                self.value = self.total / self.span
        return self.value


class Wilder(msgspec.Struct):
    """Wilder's mean: the plain mean of the first `span` terms, then each term replaces one of `span` equal shares [1]_.

    References
    ----------
    .. [1] J. W. Wilder, "New Concepts in Technical Trading Systems", 1978.
    """

    span: int
    count: int = 0
    total: float = 0.0
    value: float | None = None

    def update(self, term: float) -> float | None:
        """Take a term and return the mean, None before `span` terms."""
        value = self.value
        if value is not None:
            self.value = (value * (self.span - 1) + term) / self.span
            return self.value
        self.count += 1
        self.total += term
        if self.count == self.span:
            self.value = self.total / self.span
        return self.value
