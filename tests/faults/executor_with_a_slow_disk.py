"""The executor on a disk whose every sync takes so many seconds, as its environment says."""

from __future__ import annotations

import os
import threading

from edgefleet_services.cli.main import main

DELAY_S = float(os.environ["SLOW_SYNC_S"])


def slowly(sync: object = os.fdatasync) -> None:
    """Put the delay before every sync, in the thread that syncs."""

    def delayed(fd: int) -> None:
        threading.Event().wait(DELAY_S)
        sync(fd)  # type: ignore[operator]

    os.fdatasync = delayed  # type: ignore[assignment]  # a descriptor is all it is ever given here


if __name__ == "__main__":
    slowly()
    main()
