"""The ledger's database: opened, migrated, written in transactions, asked. Knows rows; knows nothing of streams.

One synchronous code path serves SQLite (WAL, the default) and PostgreSQL (by URL, through psycopg); a service calls it
from a thread. A reader's position is stored in the transaction that stores its rows, so a kill between any two
instructions books nothing twice and loses nothing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    Table,
    create_engine,
    delete,
    event,
    inspect,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from edgefleet.errors import Misuse, OutOfReach
from edgefleet.store import tables

HEAD = "0001"  # newest revision in `migrations/versions`
ROWS_PER_STATEMENT = 500
MISUSE = 2  # exit code of a migration that was refused

Row = Mapping[str, Any]
FillKey = tuple[str, str, str, str]


class LookupRow(NamedTuple):
    """One entry that `why` can find without reading its stream."""

    stream: str
    id: str
    type: str
    account: str
    instrument: str
    order_id: str | None
    target_id: str | None
    ts_event: int
    cause: str | None


def database_url(data_dir: Path, url: str | None = None) -> str:
    """Return where the books are: `url` where one is given (a PostgreSQL), else SQLite in the data directory.

    Raises
    ------
    Misuse
        If the URL names neither SQLite nor PostgreSQL.
    """
    if not url:
        return f"sqlite:///{data_dir / 'ledger.db'}"
    scheme, _, rest = url.partition("://")
    if scheme in ("postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg"):
        return f"postgresql+psycopg://{rest}"
    if scheme == "sqlite":
        return url
    raise Misuse(f"database URL begins with {scheme!r}; it must begin with postgresql:// or sqlite:///")


class LedgerDatabase:
    """A connection to the books. Not for several threads at once."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self.dialect = self._engine.dialect.name

    def open(self) -> LedgerDatabase:
        """Bring the tables to the newest revision and return this.

        Raises
        ------
        OutOfReach
            If the database does not answer or may not be written.
        Misuse
            If a newer version of the program has already changed the tables.
        """
        with self._reached(), self._engine.begin() as connection:
            current = _revision(connection) == HEAD
        if not current:
            self._engine.dispose()
            _migrate_apart(self._engine.url.render_as_string(hide_password=False))
        return self

    def migrate(self) -> None:
        """Bring the tables to the newest revision in this process."""
        with self._reached(), self._engine.begin() as connection:
            _migrate(connection)

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Yield a transaction that commits at the end of the block, or does nothing where the block raises."""
        with self._reached(), self._engine.begin() as connection:
            yield Transaction(connection)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Yield one consistent view of the books; on SQLite it does not wait for a writer.

        Raises
        ------
        Misuse
            If there are no books: asking about them does not make them.
        """
        if self.dialect == "sqlite" and not Path(str(self._engine.url.database)).exists():
            raise Misuse(f"there are no books at {self._engine.url.database}; name the fleet's --data-dir")
        with self._reached(), self._engine.connect().execution_options(deferred=True) as connection:
            yield Transaction(connection)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            where = self._engine.url.render_as_string(hide_password=True)
            raise OutOfReach(f"database {where}: {error.orig}; see that it runs and may be written") from error


class Transaction:
    """What can be written and asked inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect = connection.dialect.name

    def execute(self, statement: Executable) -> None:
        """Run a statement whose result is not asked for."""
        self._connection.execute(statement)

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert rows; one whose key is already there stays as it was."""
        for part in _parts(rows):
            self._connection.execute(_insert(self._dialect, table), [dict(row) for row in part])

    def put(self, table: Table, rows: Sequence[Row], *, keep: frozenset[str] = frozenset()) -> None:
        """Insert rows, or replace those whose key is there; columns in `keep` stay as they were."""
        for part in _parts(rows):
            self._connection.execute(_upsert(self._dialect, table, keep), [dict(row) for row in part])

    def replace_lots(self, account: str, instrument: str, rows: Sequence[Row]) -> None:
        """Store the lots of one instrument in place of those that were there."""
        where = (tables.lots.c.account == account) & (tables.lots.c.instrument == instrument)
        self._connection.execute(delete(tables.lots).where(where))
        self.add(tables.lots, rows)

    def known_fills(self, keys: Sequence[FillKey]) -> set[FillKey]:
        """Return those of the keys (account, instrument, order, trade) that are booked already."""
        if not keys:
            return set()
        columns = [tables.fills.c[name] for name in ("account", "instrument", "order_id", "trade_id")]
        found = self._connection.execute(select(*columns).where(tuple_(*columns).in_(list(keys))))
        return {(row[0], row[1], row[2], row[3]) for row in found}

    def positions(self, reader: str) -> dict[str, str]:
        """Return how far `reader` is in each stream."""
        table = tables.stream_positions
        found = self._connection.execute(select(table.c.stream, table.c.id).where(table.c.reader == reader))
        return {row.stream: row.id for row in found}

    def move(self, reader: str, positions: Mapping[str, str]) -> None:
        """Store how far `reader` is."""
        rows = [{"reader": reader, "stream": stream, "id": last} for stream, last in sorted(positions.items())]
        self.put(tables.stream_positions, rows)

    def state(self, reader: str, schema: int) -> bytes | None:
        """Return the reader's stored state, None where there is none.

        Raises
        ------
        Misuse
            If it was written with another schema: the books would not be what they seem.
        """
        table = tables.reader_state
        row = self._connection.execute(select(table.c.schema, table.c.body).where(table.c.reader == reader)).first()
        if row is None:
            return None
        if row.schema != schema:
            raise Misuse(f"the books have schema {row.schema}, this program reads {schema}; use a new data directory")
        return bytes(row.body)

    def put_state(self, reader: str, schema: int, body: bytes) -> None:
        """Store the reader's state."""
        self.put(tables.reader_state, [{"reader": reader, "schema": schema, "body": body}])

    def add_lookup(self, rows: Iterable[LookupRow]) -> None:
        """Store where entries are found."""
        self.add(tables.lookup, [_lookup_values(row) for row in rows])

    def entries_of_order(self, order_id: str) -> list[LookupRow]:
        """Return every indexed entry that names the order, in stream order."""
        return self._lookup(tables.lookup.c.order_id == order_id)

    def entries_of_target(self, target_id: str) -> list[LookupRow]:
        """Return every indexed entry that names the target, in stream order."""
        return self._lookup(tables.lookup.c.target_id == target_id)

    def entries_of_instrument(self, instrument: str, *, until: int | None = None, limit: int = 50) -> list[LookupRow]:
        """Return the newest entries about an instrument at or before `until` (ns, market time), newest first.

        A symbol without a venue stands for the symbol at every venue.
        """
        table = tables.lookup
        if "@" in instrument:
            query = select(table).where(table.c.instrument == instrument)
        else:
            query = select(table).where(table.c.instrument.between(f"{instrument}@", f"{instrument}@\x7f"))
        if until is not None:
            query = query.where(table.c.ts_event <= until)
        order = (table.c.ts_event.desc(), table.c.ms.desc(), table.c.seq.desc())
        return [_lookup_row(row) for row in self._connection.execute(query.order_by(*order).limit(limit))]

    def instruments_of(self, symbol: str) -> list[str]:
        """Return the instruments, at whatever venues, under which a symbol is indexed."""
        column = tables.lookup.c.instrument
        query = select(column).where(column.startswith(f"{symbol}@", autoescape=True)).distinct().order_by(column)
        return list(self._connection.execute(query).scalars())

    def _lookup(self, where: Any) -> list[LookupRow]:
        table = tables.lookup
        found = self._connection.execute(select(table).where(where).order_by(table.c.ms, table.c.seq, table.c.stream))
        return [_lookup_row(row) for row in found]

    def rows(self, table: Table, *, session: str | None = None) -> list[dict[str, Any]]:
        """Return the rows of a table, of one session where one is named."""
        query = select(table)
        if session is not None:
            query = query.where(table.c.session == session)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def latest_session(self) -> str | None:
        """Return the newest session's name, None where none was recorded."""
        table = tables.sessions
        return self._connection.execute(select(table.c.session).order_by(table.c.started.desc()).limit(1)).scalar()


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    except ImportError as error:
        raise Misuse(
            f"the database driver is not installed ({error.name}); pip install 'edgefleet[postgres]'"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    return engine


def _tune_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: _begin_immediate does, so DDL is transactional too.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    # A writer takes its lock at once: a read that turns into a write could find the file changed and fail.
    deferred = connection.get_execution_options().get("deferred", False)
    connection.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate_apart(url: str) -> None:
    """Migrate in a process of its own: alembic would stay in this one's memory (11 MB) for what is done once."""
    # By stdin, because a URL may hold a password and arguments are everybody's to read.
    done = subprocess.run(
        [sys.executable, "-m", "edgefleet.store.migrations"], input=url, text=True, capture_output=True, check=False
    )
    if done.returncode == MISUSE:
        raise Misuse(done.stderr.strip())
    if done.returncode:
        raise OutOfReach(
            f"the books could not be migrated: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        )


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Misuse(f"the database was changed by a newer edgefleet ({error}); run that version") from error


# A statement costs as much to build as to run; there is one for each table and way of writing it.
@cache
def _insert(dialect: str, table: Table) -> Executable:
    return _inserting(dialect, table).on_conflict_do_nothing()


@cache
def _upsert(dialect: str, table: Table, keep: frozenset[str]) -> Executable:
    statement = _inserting(dialect, table)
    keys = {column.name for column in table.primary_key.columns}
    names = {column.name for column in table.columns}
    changed = {name: statement.excluded[name] for name in sorted(names - keys - keep)}
    return statement.on_conflict_do_update(index_elements=sorted(keys), set_=changed)


def _inserting(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        yield rows[start : start + ROWS_PER_STATEMENT]


def _lookup_values(row: LookupRow) -> dict[str, Any]:
    values = row._asdict()
    milliseconds, _, sequence = values.pop("id").partition("-")
    return {**values, "ms": int(milliseconds), "seq": int(sequence)}


def _lookup_row(row: Any) -> LookupRow:
    return LookupRow(
        row.stream, f"{row.ms}-{row.seq}", row.type, row.account, row.instrument, row.order_id, row.target_id,
        row.ts_event, row.cause,
    )  # fmt: skip
