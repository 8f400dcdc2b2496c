"""Logs are one JSON object a line."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import pytest

from edgefleet.errors import Misuse
from edgefleet.telemetry import logs


def test_an_event_is_one_line_of_json_with_its_fixed_fields_first() -> None:
    out = io.StringIO()
    log = logs.configure("risk", session="s1", stream=out)

    log.warning("order_refused", limit=Decimal("0.02"), trace_id="sim:BTC/USDT:1", text="two\nlines")

    (line,) = out.getvalue().splitlines()
    event = json.loads(line)
    assert list(event)[:4] == ["ts", "level", "service", "event"]
    assert event["ts"].endswith("Z")
    assert (event["level"], event["service"], event["session"]) == ("warning", "risk", "s1")
    assert (event["event"], event["limit"], event["trace_id"]) == ("order_refused", "0.02", "sim:BTC/USDT:1")


def test_what_has_no_json_form_is_written_and_does_not_raise() -> None:
    out = io.StringIO()

    logs.configure("risk", stream=out).info("odd", value=object())

    assert "<object object" in json.loads(out.getvalue())["value"]


def test_an_exception_is_told_in_the_same_line() -> None:
    out = io.StringIO()
    log = logs.configure("risk", stream=out)

    try:
        raise ValueError("variance must be positive, was -1")
    except ValueError:
        log.exception("step_failed")

    (line,) = out.getvalue().splitlines()
    assert "variance must be positive" in json.loads(line)["exception"]


def test_below_the_level_nothing_is_written() -> None:
    out = io.StringIO()

    logs.configure("risk", level="warning", stream=out).info("step")

    assert out.getvalue() == ""


def test_people_get_lines_without_braces() -> None:
    out = io.StringIO()

    logs.configure("risk", stream=out, console=True).info("started", port=9104)

    assert "started" in out.getvalue()
    assert "port=9104" in out.getvalue()
    assert "{" not in out.getvalue()


def test_an_unknown_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Misuse, match="'loud' is unknown; write one of debug, info"):
        logs.configure("risk", level="loud")
