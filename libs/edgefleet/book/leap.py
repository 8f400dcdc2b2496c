"""Whether a price is too far from the last ones to be believed at once. Knows nothing of where prices come from."""

from __future__ import annotations

from decimal import Decimal

# Seen in practice as a price times 100, a shifted decimal point or another pair's frame; a real move of a quarter
# between two frames is an event after which some tens of frames are a short wait.
LEAP = Decimal("1.25")
FRAMES_TO_BELIEVE = 50

NEAR = Decimal("1.1")  # a move within the believed band but past this carries the band along


class LeapGuard:
    """The band that one sequence of prices is believed in.

    The band follows prices that walk out of its middle. A price outside is kept out until `frames_to_believe` in a row
    were outside; then the next one is believed and the band moves there.
    """

    __slots__ = ("_far", "_frames", "_leap", "_near", "_step", "doubted")

    def __init__(self, leap: Decimal = LEAP, frames_to_believe: int = FRAMES_TO_BELIEVE) -> None:
        self._leap, self._step, self._frames = leap, min(NEAR, leap), frames_to_believe
        self._near: tuple[Decimal, Decimal] | None = None
        self._far: tuple[Decimal, Decimal] | None = None
        self.doubted = 0  # prices in a row that were kept out

    def believe(self, price: Decimal) -> None:
        """Put the band around `price`."""
        self._near = (price / self._step, price * self._step)
        self._far = (price / self._leap, price * self._leap)
        self.doubted = 0

    def is_near(self, low: Decimal, high: Decimal) -> bool:
        """Whether `low` and `high` are in the middle of the band, which neither would move."""
        near = self._near
        return near is not None and near[0] <= low and high <= near[1]

    def leaps(self, price: Decimal) -> bool:
        """Whether `price` is to be kept out; the first price ever is not."""
        near = self._near
        if near is not None and near[0] <= price <= near[1]:
            self.doubted = 0
            return False
        far = self._far
        if far is not None and not far[0] <= price <= far[1] and self.doubted < self._frames:
            self.doubted += 1
            return True
        self.believe(price)
        return False
