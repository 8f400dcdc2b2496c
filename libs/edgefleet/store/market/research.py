"""The archive as Arrow tables, for research. Knows no stream and no order of messages but the columns' own."""

from __future__ import annotations

from collections.abc import Collection

from edgefleet.errors import Misuse
from edgefleet.store.arrow import WITH_NUMPY, WITHOUT_NUMPY, pa
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.kinds import KINDS

_ROWS = 65_536


def read_table(
    archive: MarketArchive,
    kind: str,
    instruments: Collection[str] | None = None,
    start: int | None = None,
    end: int | None = None,
    *,
    columns: Collection[str] | None = None,
) -> pa.Table:
    """Return the rows of one kind with `ts_event` in ``[start, end)``, by `ts_event` and, where equal, as written.

    The first column is `instrument`. An archive without such rows gives an empty table with the same columns.

    Raises
    ------
    Misuse
        If the kind or a column is unknown, a file cannot be read, or the process spares numpy (`edgefleet.lean`).
    """
    if not WITH_NUMPY:
        raise Misuse(WITHOUT_NUMPY)
    chosen = archive.chosen([kind], instruments, start, end)
    schema = KINDS[kind].layout.schema
    wanted = schema.names if columns is None else list(columns)
    if unknown := sorted(set(wanted) - set(schema.names)):
        raise Misuse(f"{', '.join(unknown)} is no column of {kind}; it has {', '.join(schema.names)}")
    tables = [_empty(schema)]
    for each in chosen:
        within = (-(2**63) if start is None else start, 2**63 - 1 if end is None else end - 1)
        for part in archive.partitions.parts(each.partition):
            batches = archive.batches(each, part, within=within, batch_rows=_ROWS)
            tables += [_named(pa.Table.from_batches([batch]), each.instrument) for batch in batches]
    return _within(pa.concat_tables(tables), start, end).select(["instrument", *wanted])


def _empty(schema: pa.Schema) -> pa.Table:
    return _named(schema.remove_metadata().empty_table(), "")


def _named(table: pa.Table, instrument: str) -> pa.Table:
    codes = pa.array([0] * table.num_rows, pa.int32())
    names = pa.DictionaryArray.from_arrays(codes, pa.array([instrument], pa.string()))
    return table.replace_schema_metadata(None).add_column(0, "instrument", names)


def _within(table: pa.Table, start: int | None, end: int | None) -> pa.Table:
    import pyarrow.compute as pc

    stamps = pc.cast(table["ts_event"], pa.int64())
    if start is not None:
        table, stamps = _where(table, stamps, pc.greater_equal(stamps, start))
    if end is not None:
        table, stamps = _where(table, stamps, pc.less(stamps, end))
    return table.sort_by([("ts_event", "ascending"), ("seq", "ascending")])


def _where(table: pa.Table, stamps: pa.ChunkedArray, kept: pa.ChunkedArray) -> tuple[pa.Table, pa.ChunkedArray]:
    return table.filter(kept), stamps.filter(kept)
