"""One fleet at two venues over the recorded market: one portfolio, two accounts, services killed in between."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.fleet.conftest import RecordedSession
from tests.fleet.processes import PROJECT, edgefleet, ended, kill_service, report_of, start, until
from tests.fleet.test_kill import _running, _wait_for
from tests.fleet.test_recorded_market import _is_the_recorded_market, _traded_and_balanced

from edgefleet.messages import Approved, decode
from edgefleet.store.history import History

pytestmark = [pytest.mark.integration, pytest.mark.data, pytest.mark.faults, pytest.mark.timeout(600)]

VENUES = ("sim", "other")
INSTRUMENTS = ("BTC/USDT@sim", "BTC/USDT@other")
MOST = 0.12  # of all equity: less than what the two accounts would hold by their own limits, 0.18 or so
KILLS = {20_000: "executor", 50_000: "risk", 80_000: "executor", 110_000: "ledger", 150_000: "executor"}


def _conf(folder: Path) -> Path:
    """Return a configuration with a second simulated venue, whose fleet may hold less than its accounts would."""
    conf = Path(shutil.copytree(PROJECT / "conf", folder / "conf"))
    shutil.copy(conf / "venues" / "sim.yml", conf / "venues" / "other.yml")
    limits = conf / "risk_params.yml"
    head, mark, tail = limits.read_text().partition("fleet_limits:")
    tail, count = re.subn(r"(gross|net): 4\.0", rf"\1: {MOST}", tail, count=2)
    assert (mark, count) == ("fleet_limits:", 2)
    limits.write_text(head + mark + tail)
    return conf


@pytest.fixture(scope="module")
def session(tape: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> RecordedSession:
    """The fleet over the whole tape at both venues, its executor, risk and ledger killed with SIGKILL."""
    folder = tmp_path_factory.mktemp("two")
    data_dir, conf = folder / "data", _conf(folder)
    first, second = tape
    command = ("up", "--venue", ",".join(VENUES), "--symbols", ",".join(INSTRUMENTS), "--speed", "10", "--until-end")
    tapes = ("--tape", f"sim={first}", "--tape", second, "--tape", f"other={first}", "--tape", second)
    fleet = start(*command, *tapes, "--json", "--conf", conf, "--data-dir", data_dir, "--log-level", "critical")

    def kill() -> None:
        url = until(lambda: _running(data_dir), within_s=60, what="the fleet writes fleet.json")["redis_url"]
        for entries, name in KILLS.items():
            _wait_for(url, entries)
            kill_service(fleet.pid, name)

    return RecordedSession(data_dir, ended(fleet, meanwhile=kill), "")


def _approved(session: RecordedSession) -> list[Approved]:
    with History.open(session.data_dir) as history:
        said = [decode(entry.type, entry.data) for entry in history.entries("targets")]
    return [one for one in said if isinstance(one, Approved)]


def test_both_venues_are_seen_whole_and_apart(session: RecordedSession) -> None:
    markets = session.report["market"]

    assert set(markets) == set(INSTRUMENTS)
    for market in markets.values():
        _is_the_recorded_market(market)


def test_both_accounts_trade_and_every_order_is_booked_once(session: RecordedSession) -> None:
    report = session.report
    fees = [account["fees"].get("USDT", "0") for account in report["accounts"].values()]

    _traded_and_balanced(report)
    assert {name: report["restarts"][name] for name in set(KILLS.values())} == Counter(KILLS.values())
    assert set(report["accounts"]) == set(VENUES)
    assert all(Decimal(fee) > 0 for fee in fees)
    assert Decimal(report["equity"]) == sum(Decimal(one["equity"]) for one in report["accounts"].values())


def test_no_verdict_lets_both_together_hold_more_than_the_fleet_may(session: RecordedSession) -> None:
    """From the verdicts alone: whenever one is enlarged, both targets are within the limit of all equity."""
    targets: dict[str, Approved] = {}
    shares = []
    for said in _approved(session):
        before = targets.get(said.instrument)
        targets[said.instrument] = said
        if len(targets) == len(INSTRUMENTS) and (before is None or said.quantity > before.quantity):
            held = sum(one.quantity * said.price for one in targets.values())
            shares.append(held / sum(one.equity for one in targets.values()))

    assert shares
    assert max(shares) <= Decimal(str(MOST)) * Decimal("1.001")
    assert max(shares) > Decimal("0.095")  # more than either account alone, which holds 0.18 of its half


def test_what_the_fleet_leaves_binds_and_stands_on_every_verdict(session: RecordedSession) -> None:
    verdicts = _approved(session)

    # Before the second account is told, one alone is no fleet.
    assert all({"fleet_gross", "fleet_net", "fleet_var", "fleet_drawdown"} <= one.head_room.keys() for one in verdicts)
    assert {"fleet_gross", "fleet_net"} & {one.binding for one in verdicts}


def test_the_twin_of_both_venues_is_equal_in_every_stage(session: RecordedSession) -> None:
    twin: dict[str, Any] = report_of(edgefleet("twin", "--data-dir", session.data_dir, "--json", timeout_s=300))

    assert twin["parity"] == 1.0, twin
    assert all(stage["compared"] > 0 for stage in twin["stages"].values())
