"""Which row of a feature was in force at a moment. Arithmetic on arrays of stamps; knows no file.

In force at `t` is, among the rows with ``available_at <= t``, the one with the newest `ts_event`; of rows for the same
moment (a correction) the one available last, of those the one written last. A row for an older moment that comes late
changes nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Stamps = NDArray[np.int64]


def in_force(
    ts_event: Stamps, available_at: Stamps, seq: Stamps, times: Stamps, *, max_age_ns: int | None = None
) -> Stamps:
    """Return for each of `times` the index of the row in force, -1 where there is none.

    With `max_age_ns` a row whose `ts_event` is further back than that counts as none.

    Examples
    --------
    >>> stamps = lambda *values: np.array(values, np.int64)
    >>> in_force(stamps(10, 20), stamps(12, 31), stamps(1, 2), stamps(11, 12, 30, 31)).tolist()
    [-1, 0, 0, 1]
    """
    if not len(ts_event):
        return np.full(len(times), -1, np.int64)
    order = np.lexsort((seq, available_at))
    moments = ts_event[order]
    newest = np.maximum.accumulate(moments)
    # By availability, a row leads from its place on unless one before it is for a newer moment.
    leader = np.maximum.accumulate(np.where(moments == newest, np.arange(len(order)), -1))
    known = np.searchsorted(available_at[order], times, side="right") - 1
    found = np.where(known >= 0, order[leader[np.maximum(known, 0)]], -1)
    if max_age_ns is not None:
        # Compared in this order so that no difference of stamps can leave int64.
        stale = (found >= 0) & (ts_event[np.maximum(found, 0)] < times - max_age_ns)
        found = np.where(stale, -1, found)
    return found.astype(np.int64)
