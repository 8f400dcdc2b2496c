"""What a person is told of circuit breakers: by the monitor's view, `status`, `doctor` and `why`."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefleet.bus.interface import Entry
from edgefleet.messages import Message, Refusal, Refused, encode
from edgefleet.store.db import LedgerDatabase, LookupRow, database_url
from edgefleet.store.history import History
from edgefleet.testing.build import approved, breaker_moved
from edgefleet.testing.clock import START_NS
from edgefleet_services.cli.operate import _status_lines
from edgefleet_services.doctor import breakers
from edgefleet_services.monitor.view import FleetView
from edgefleet_services.why import explain, told

REFUSED = Refused(
    by="risk", target_id=None, account="main", instrument="BTC/USDT@sim", reason=Refusal.BREAKER, limit=0.03,
    observed=0.041, detail="daily_loss", ts_event=START_NS + 10, ts_init=START_NS, trace_id="x", cause="beats/1-0",
    config="0" * 64,
)  # fmt: skip


def entry(entry_id: str, message: Message) -> Entry:
    return Entry(entry_id, str(message.__struct_config__.tag), encode(message))


def seen(*messages: Message) -> FleetView:
    view = FleetView()
    for message in messages:
        view.take(message)
    return view


def test_last_move_of_each_breaker_and_scope_is_kept_and_open_ones_come_first() -> None:
    view = seen(
        breaker_moved(breaker="drawdown", after="CLOSED", before="HALF_OPEN"),
        breaker_moved(breaker="staleness", scope="sim", after="OPEN"),
        breaker_moved(breaker="staleness", scope="kraken", after="OPEN"),
        breaker_moved(breaker="staleness", scope="sim", before="OPEN", after="HALF_OPEN"),
    )

    lines = [(one["breaker"], one["scope"], one["state"]) for one in view.breaker_lines()]

    assert lines == [
        ("staleness", "kraken", "OPEN"),
        ("staleness", "sim", "HALF_OPEN"),
        ("drawdown", "main|USDT", "CLOSED"),
    ]


def test_head_room_is_the_least_of_all_instruments_for_each_limit() -> None:
    view = seen(
        approved(instrument="BTC/USDT@sim", head_room={"position": 0.5, "var": 0.1}),
        approved(instrument="ETH/USDT@sim", head_room={"position": -0.2, "net": 0.9}),
    )

    assert view.head_room() == {"position": -0.2, "var": 0.1, "net": 0.9}
    assert seen().head_room() == {}


def test_head_room_of_an_instrument_is_that_of_its_last_target() -> None:
    view = seen(approved(head_room={"var": 0.1, "budget": 0.3}), approved(head_room={"var": 0.4}))

    assert view.head_room() == {"var": 0.4}


def test_status_names_what_holds_back_and_leaves_out_what_does_not() -> None:
    view = seen(
        breaker_moved(),
        breaker_moved(breaker="staleness", scope="sim", after="HALF_OPEN", observed=None, limit=10, unit="s"),
        breaker_moved(breaker="var", after="CLOSED"),
    )

    lines = [line for line in _status_lines({"services": [], "breakers": view.breaker_lines()}) if "breaker" in line]

    assert [line.split(":")[0] for line in lines] == [
        "breaker    OPEN daily_loss of main|USDT",
        "breaker    HALF_OPEN staleness of sim",
    ]
    assert "observed 0.04, limit 0.03 (fraction of equity), action reduce" in lines[0]
    assert "observed not known, limit 10 (s)" in lines[1]


def test_doctor_is_red_with_an_open_breaker_and_well_once_it_heals() -> None:
    opened = entry("1-0", breaker_moved())
    healing = entry("2-0", breaker_moved(before="OPEN", after="HALF_OPEN"))

    assert breakers([])["ok"]
    assert not breakers([opened])["ok"]
    assert "daily_loss of main|USDT is OPEN" in breakers([opened])["detail"]
    assert breakers([opened, healing])["ok"]


def test_doctor_cannot_tell_what_it_cannot_read() -> None:
    found = breakers([Entry("1-0", "breaker.v1", b"{}")])

    assert not found["ok"]
    assert "not known" in found["detail"]


def on_record(folder: Path, *control: Entry) -> None:
    """Archive `control` and one refusal, and index the refusal as the ledger does."""
    archive = History(folder).archive
    if control:
        archive.write("control", list(control))
    archive.write("refusals", [entry("500-7", REFUSED)])
    row = LookupRow(
        "refusals", "500-7", "refused.v1", "main", REFUSED.instrument, None, None, REFUSED.ts_event, REFUSED.cause
    )
    books = LedgerDatabase(database_url(folder)).open()
    with books.transaction() as index:
        index.add_lookup([row])
    books.close()


def why(folder: Path) -> str:
    return "\n".join(told(explain("BTC/USDT", folder, redis_url=None, database=None)))


@pytest.mark.parametrize("scope", ["", "sim", "sim|USDT", "main|USDT"])
def test_why_tells_the_numbers_of_the_breaker_from_the_archive(tmp_path: Path, scope: str) -> None:
    on_record(tmp_path, entry("499-0", breaker_moved(scope=scope)))

    answer = why(tmp_path)

    assert "refused by risk: BREAKER, observed 0.041, limit 0.03 daily_loss" in answer
    assert "OPEN: observed 0.04, limit 0.03 (fraction of equity), action reduce" in answer
    assert "[control/499-0]" in answer
    assert "the opening" not in answer


def test_why_takes_the_newest_opening_before_the_refusal_and_no_other_breaker(tmp_path: Path) -> None:
    on_record(
        tmp_path,
        entry("400-0", breaker_moved(observed=0.031)),
        entry("450-0", breaker_moved(before="OPEN", after="HALF_OPEN")),
        entry("480-0", breaker_moved(before="HALF_OPEN", observed=0.05)),
        entry("490-0", breaker_moved(scope="main|EUR", observed=0.06)),
        entry("500-9", breaker_moved(breaker="var", scope="sim|USDT")),
        entry("501-0", breaker_moved(observed=0.07)),
    )

    answer = why(tmp_path)

    assert "[control/480-0]" in answer
    assert answer.count("[control/") == 1


def test_why_says_where_the_opening_is_not_on_record(tmp_path: Path) -> None:
    on_record(tmp_path, entry("450-0", breaker_moved(before="OPEN", after="HALF_OPEN")))

    assert "missing: the opening of breaker daily_loss" in why(tmp_path)
