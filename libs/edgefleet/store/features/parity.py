"""Whether what is online now is what the files say was in force. Reads both; mends neither."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.features.online import OnlineFeatures
from edgefleet.store.features.sets import FeatureRow, FeatureSet


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not the same in both."""

    instrument: str
    what: str  # a feature's name, `ts_event` or `available_at`; `row` where one side has none
    online: float | int | None
    offline: float | int | None


async def parity(
    online: OnlineFeatures,
    store: FeatureStore,
    features: FeatureSet,
    instruments: Iterable[str],
    now: int,
    *,
    after: int = 0,
) -> list[Difference]:
    """Return every difference between the online rows and the offline ones in force at `now`; none is parity.

    Values are compared exactly. Commit the offline writer before: what it still holds is in no file. Of the files only
    those from the day of `after` on are read.
    """
    found: list[Difference] = []
    for instrument in instruments:
        found += differences(
            instrument, await online.read(features, instrument), store.latest(features, instrument, now, after=after)
        )
    return found


def differences(instrument: str, online: FeatureRow | None, offline: FeatureRow | None) -> list[Difference]:
    """Return where two rows of one set differ."""
    if online is None or offline is None:
        if online is offline:
            return []
        stamps = [None if row is None else row.ts_event for row in (online, offline)]
        return [Difference(instrument=instrument, what="row", online=stamps[0], offline=stamps[1])]
    pairs: list[tuple[str, Any, Any]] = [
        ("ts_event", online.ts_event, offline.ts_event),
        ("available_at", online.available_at, offline.available_at),
        *((name, value, offline.values.get(name)) for name, value in online.values.items()),
    ]
    return [
        Difference(instrument=instrument, what=what, online=one, offline=other)
        for what, one, other in pairs
        if one != other
    ]
