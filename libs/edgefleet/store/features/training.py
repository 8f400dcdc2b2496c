"""Point-in-time tables of features for training: what was known at each moment that is asked for, and nothing later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgefleet.errors import Misuse
from edgefleet.store.arrow import STAMP, WITH_NUMPY, WITHOUT_NUMPY, pa
from edgefleet.store.features.as_of import Stamps, in_force
from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.features.sets import FeatureSet


def as_of(
    store: FeatureStore,
    features: FeatureSet,
    times: Mapping[str, Sequence[int] | Stamps],
    *,
    max_age_ns: int | None = None,
) -> pa.Table:
    """Return, for each instrument and each of its `times` (ns), the features that were in force then.

    Columns: `instrument`, `asked_at`, `ts_event` and `available_at` of the row that was in force, and the features; all
    but the first two are null where none was. Rows stand in the order of `times`. The table's metadata names the set,
    its version and the digest of its definitions. See `in_force` for ties and for `max_age_ns`.

    Raises
    ------
    Misuse
        If a file cannot be read, the store has other definitions, or the process spares numpy (`edgefleet.lean`).
    """
    if not WITH_NUMPY:
        raise Misuse(WITHOUT_NUMPY)
    known = store.find(features.name, features.version)
    if known.digest != features.digest:
        raise Misuse(f"the store has {known.label}, asked for was {features.label}: definitions differ")
    names = ["asked_at", "ts_event", "available_at", *features.features]
    fields = [("instrument", pa.dictionary(pa.int32(), pa.string())), *((name, STAMP) for name in names[:3])]
    schema = pa.schema(fields + [(name, pa.float64()) for name in features.features])
    schema = schema.with_metadata({"edgefleet.features": features.label, "edgefleet.digest": features.digest})
    tables = [_of(store, features, name, np.asarray(times[name], np.int64), schema, max_age_ns) for name in times]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _of(
    store: FeatureStore, features: FeatureSet, instrument: str, times: Stamps, schema: Any, max_age_ns: int | None
) -> pa.Table:
    oldest = 0 if max_age_ns is None or not len(times) else int(times.min()) - max_age_ns
    batches = list(store.batches(features, instrument, after=max(oldest, 0)))
    ts_event, available_at = _joined([b.ts_event for b in batches]), _joined([b.available_at for b in batches])
    found = in_force(ts_event, available_at, _joined([b.seq for b in batches]), times, max_age_ns=max_age_ns)
    # Null where none was in force: taking by a null index gives null.
    rows = pa.array(np.maximum(found, 0), mask=found < 0)
    columns = [
        pa.array(times).view(STAMP),
        *(pa.array(each).take(rows).view(STAMP) for each in (ts_event, available_at)),
    ]
    for name in features.features:
        values = pa.chunked_array([batch.values[name] for batch in batches], pa.float64()).combine_chunks()
        columns.append(values.take(rows))
    codes = pa.array(np.zeros(len(times), np.int32))
    names = pa.DictionaryArray.from_arrays(codes, pa.array([instrument], pa.string()))
    return pa.Table.from_arrays([names, *columns], schema=schema)


def _joined(arrays: list[Any]) -> Stamps:
    if not arrays:
        return np.empty(0, np.int64)
    return np.concatenate([array.to_numpy(zero_copy_only=False) for array in arrays]).astype(np.int64)
