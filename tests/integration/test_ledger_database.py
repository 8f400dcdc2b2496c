"""The books in a real SQLite and in a real PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.ledger.test_books import account, session

from edgefleet.bus.interface import Entry
from edgefleet.errors import Broken, Misuse, OutOfReach
from edgefleet.messages import Message, OrderState, encode, tag_of
from edgefleet.params.schema import FleetConfig
from edgefleet.store import tables
from edgefleet.store.books import Bookkeeper
from edgefleet.store.db import LedgerDatabase, LookupRow, database_url
from edgefleet.testing.build import beat, fill, order_event, touch
from edgefleet.testing.clock import START_NS

pytestmark = pytest.mark.integration
CONFIG = FleetConfig()


def unprivileged() -> tuple[str, ...]:
    """Return what makes a command run as somebody else: a PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return ()
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return ("setpriv", f"--reuid={name}", "--clear-groups", "env", "HOME=/nonexistent")
    pytest.skip("PostgreSQL does not run as root and there is no other user here")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Yield the URL of a PostgreSQL of our own, on its own port and files."""
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("no PostgreSQL on this machine (initdb and pg_ctl are not on PATH)")
    pytest.importorskip("psycopg", reason="the postgres extra is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    as_user = unprivileged()
    made = subprocess.run(
        [*as_user, "mktemp", "-d", "/tmp/edgefleet-pg.XXXXXX"], capture_output=True, text=True, check=True
    )
    data = Path(made.stdout.strip())
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        subprocess.run(
            [*as_user, "initdb", "-D", str(data / "db"), "-A", "trust", "-U", "edgefleet"],
            check=True,
            capture_output=True,
        )
        started = [*as_user, "pg_ctl", "-D", str(data / "db"), "-w", "-o", options, "-l", str(data / "log"), "start"]
        subprocess.run(started, check=True, stdout=subprocess.DEVNULL)
        yield f"postgresql://edgefleet@127.0.0.1:{port}/postgres"
        subprocess.run(
            [*as_user, "pg_ctl", "-D", str(data / "db"), "-m", "immediate", "stop"], check=True, capture_output=True
        )
    finally:
        shutil.rmtree(data)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerDatabase]:
    given = None if request.param == "sqlite" else request.getfixturevalue("postgres")
    opened = LedgerDatabase(database_url(tmp_path, given)).open()
    assert opened.dialect == request.param
    yield opened
    with opened.transaction() as transaction:
        for table in reversed(tables.metadata.sorted_tables):
            transaction.execute(table.delete())
    opened.close()


def as_entries(messages: Sequence[Message], first: int = 1) -> list[Entry]:
    return [Entry(f"{number}-0", tag_of(m), encode(m)) for number, m in enumerate(messages, first)]


def opened(database: LedgerDatabase) -> Bookkeeper:
    keeper = Bookkeeper(database)
    keeper.open()
    return keeper


def began(database: LedgerDatabase) -> Bookkeeper:
    keeper = opened(database)
    keeper.book("control", as_entries([session()]), CONFIG)
    keeper.book("fills", as_entries([account(USDT="100000")]), CONFIG)
    keeper.book("beats", as_entries([touch()]), CONFIG)
    return keeper


def test_decimals_come_back_as_they_went_in(database: LedgerDatabase) -> None:
    exact = [Decimal("0.00000001"), Decimal("123456789012345678.123456789012345678"), Decimal("-1E+3"), Decimal(0)]
    row = {"account": "main", "instrument": "BTC/USDT@sim", "price": None, "opened": 1, "origin": "x"}
    with database.transaction() as transaction:
        transaction.add(tables.lots, [{**row, "number": n, "quantity": q} for n, q in enumerate(exact)])

    with database.reading() as transaction:
        found = [line["quantity"] for line in transaction.rows(tables.lots)]

    assert found == exact


def test_opening_twice_changes_nothing(database: LedgerDatabase) -> None:
    began(database)

    database.open()

    assert opened(database).position("control") == "1-0"


def test_rows_and_position_are_written_together(database: LedgerDatabase) -> None:
    keeper = began(database)

    keeper.book("fills", as_entries([fill()], first=2), CONFIG)

    with database.reading() as transaction:
        (row,) = transaction.rows(tables.fills)
        (position,) = transaction.rows(tables.positions)
        cash = {line["asset"]: line["amount"] for line in transaction.rows(tables.cash)}
        assert transaction.positions("books")["fills"] == "2-0"
    assert (row["quantity"], row["realised"], row["booked"]) == (Decimal("0.1"), 0, True)
    assert position["quantity"] == Decimal("0.1")
    assert cash == {"USDT": Decimal("93994"), "BTC": Decimal("0.1")}


def test_a_batch_that_fails_leaves_no_trace(database: LedgerDatabase) -> None:
    keeper = began(database)
    unreadable = Entry("3-0", "fill.v1", b"{}")

    with pytest.raises(Broken, match="fills/3-0"):
        keeper.book("fills", [*as_entries([fill()], first=2), unreadable], CONFIG)

    keeper.open()
    assert keeper.position("fills") == "1-0"
    with database.reading() as transaction:
        assert transaction.rows(tables.fills) == []


def test_an_unreadable_beat_is_set_aside(database: LedgerDatabase) -> None:
    keeper = began(database)

    (letter,) = keeper.book("beats", [Entry("9-0", "beat.v1", b"{")], CONFIG)

    assert letter.stream == "dead.ledger"
    assert keeper.position("beats") == "9-0"


def test_entries_that_are_read_again_are_not_booked_again(database: LedgerDatabase) -> None:
    keeper = began(database)
    batch = as_entries([fill(), fill(trade_id="2")], first=2)
    keeper.book("fills", batch, CONFIG)

    again = opened(database)
    again.book("fills", batch, CONFIG)
    again.book("fills", as_entries([fill(), fill(trade_id="3")], first=4), CONFIG)  # the same trade under another id

    assert [line.fills for line in again.statements()] == [3]
    with database.reading() as transaction:
        assert len(transaction.rows(tables.fills)) == 3


def test_a_restart_finds_the_books_as_they_were(database: LedgerDatabase) -> None:
    keeper = began(database)
    keeper.book("fills", as_entries([fill(), fill(trade_id="2", side="sell", price=Decimal(61_000))], first=2), CONFIG)

    assert opened(database).statements() == keeper.statements()


def test_an_order_keeps_its_newest_state_and_every_event(database: LedgerDatabase) -> None:
    keeper = began(database)
    later = START_NS + 5
    states = [order_event(), order_event(state=OrderState.FILLED, filled=Decimal("0.1"), ts_event=later)]

    keeper.book("orders", as_entries(states), CONFIG)

    with database.reading() as transaction:
        (order,) = transaction.rows(tables.orders, session="s1")
        events = [row["state"] for row in transaction.rows(tables.order_events)]
    assert (order["state"], order["created"], order["updated"]) == ("FILLED", START_NS, later)
    assert sorted(events) == ["FILLED", "PENDING_NEW"]


def test_each_beat_is_a_point_of_the_equity_curve(database: LedgerDatabase) -> None:
    keeper = began(database)

    keeper.book("beats", as_entries([beat(ts_event=START_NS + n * 10**9) for n in range(3)], first=2), CONFIG)

    with database.reading() as transaction:
        points = transaction.rows(tables.equity)
    assert [point["equity"] for point in points] == [100_000] * 3


def test_what_is_about_an_order_a_target_or_an_instrument_is_found(database: LedgerDatabase) -> None:
    rows = [
        LookupRow("targets", "10-0", "approved.v1", "main", "BTC/USDT@sim", None, "t1", 100, "ensembles/9-0"),
        LookupRow("orders", "11-0", "order_event.v1", "main", "BTC/USDT@sim", "ef1", "t1", 101, "targets/10-0"),
        LookupRow("refusals", "12-0", "refused.v1", "main", "BTC/USDT@sim", None, None, 102, "ensembles/11-0"),
    ]
    with database.transaction() as transaction:
        transaction.add_lookup(rows)
        transaction.add_lookup(rows)

    with database.reading() as transaction:
        assert transaction.entries_of_order("ef1") == [rows[1]]
        assert transaction.entries_of_target("t1") == rows[:2]
        assert transaction.entries_of_instrument("BTC/USDT@sim", until=101) == [rows[1], rows[0]]


def test_books_of_a_newer_program_are_refused(tmp_path: Path) -> None:
    database = LedgerDatabase(database_url(tmp_path)).open()
    with database.transaction() as transaction:
        transaction.put_state("books", 99, b"")

    with pytest.raises(Misuse, match="schema 99"):
        opened(database)
    database.close()


def test_tables_of_a_newer_program_are_refused(tmp_path: Path) -> None:
    LedgerDatabase(database_url(tmp_path)).open().close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(Misuse, match=r"newer edgefleet"):
        LedgerDatabase(database_url(tmp_path)).open()


def test_asking_about_books_does_not_make_them(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="there are no books"), LedgerDatabase(database_url(tmp_path)).reading():
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_database_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutOfReach, match=r"database sqlite.*unable to open"):
        LedgerDatabase(database_url(tmp_path / "absent")).open()


def test_an_unknown_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="mysql"):
        database_url(tmp_path, "mysql://x/y")


def test_a_password_is_never_told(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="the postgres extra is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(OutOfReach) as told:
        LedgerDatabase(database_url(tmp_path, f"postgresql://me:secret@127.0.0.1:{port}/x?connect_timeout=1")).open()

    assert "secret" not in str(told.value)
