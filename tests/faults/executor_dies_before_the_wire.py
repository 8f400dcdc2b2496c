"""The executor with a breakpoint: it is killed after the intent is committed and before the order leaves."""

from __future__ import annotations

import os
import signal

from edgefleet.venues.binance.rest import BinanceVenue
from edgefleet.venues.interface import NewOrder, PlaceResult
from edgefleet_services.cli.main import main
from edgefleet_services.executor import service


class Dying(BinanceVenue):
    """A venue whose first order is the process' last act."""

    async def place(self, order: NewOrder) -> PlaceResult:
        os.kill(os.getpid(), signal.SIGKILL)
        return await super().place(order)


if __name__ == "__main__":
    service.__dict__["BinanceVenue"] = Dying  # the breakpoint
    main()
