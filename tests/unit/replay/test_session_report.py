"""The session report where a record holds more than one plain session: what is counted, and what is not."""

from __future__ import annotations

from typing import Any

from edgefleet.bus.interface import Entry
from edgefleet.messages import Message, encode, tag_of
from edgefleet.replay.report import SessionReport
from edgefleet.testing.build import account, fill


def _report(*messages: Message, stream: str = "fills") -> SessionReport:
    report = SessionReport()
    for number, message in enumerate(messages, start=1):
        report.take(stream, Entry(f"{number}-0", tag_of(message), encode(message)))
    return report


def _built(report: SessionReport) -> dict[str, Any]:
    return report.build(
        session="s",
        mode="demo",
        venue="sim",
        symbols=("BTC/USDT",),
        started_ns=0,
        ended_ns=0,
        venue_books=None,
        restarts={},
    )


def test_fill_that_the_executor_published_twice_is_counted_once() -> None:
    assert _built(_report(account(reason="start"), fill(), fill(cause="venue.events/9-9")))["fills"] == 1


def test_fill_before_the_account_was_opened_is_in_its_balances() -> None:
    assert _built(_report(fill(), account(reason="start")))["fills"] == 0


def test_account_that_the_gateway_heard_of_opens_nothing_before_the_fills_say_so() -> None:
    report = _report(account(reason="start"), stream="venue.events")
    report.take("fills", Entry("1-0", tag_of(fill()), encode(fill())))
    report.take("fills", Entry("2-0", tag_of(account()), encode(account(reason="start"))))

    assert _built(report)["fills"] == 0


def test_entry_that_cannot_be_read_is_passed_over() -> None:
    report = _report(account(reason="start"), fill())
    report.take("fills", Entry("9-0", "fill.v1", b'{"quantity": NaN'))

    assert _built(report)["fills"] == 1


def test_trade_of_the_venue_before_the_opening_is_no_trade_of_this_session() -> None:
    opened = account(reason="start")
    report = _report(opened, fill(venue_order_id="7", trade_id="8"))

    assert report.is_of_session("1", "2", opened.ts_event + 1)
    assert not report.is_of_session("1", "2", opened.ts_event)
    assert report.is_of_session("7", "8", opened.ts_event)
