"""`edgefleet data check` over recorded markets and over what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgefleet_services.cli.main import outcome

SPOT = ("binance_spot/btcusdt_20240808.gz", "binance_spot/btcusdt_20240809.gz")
# venue, files, what the wire itself proves (data/README.md beside the recordings)
PROVED: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    (
        "binance",
        SPOT,
        {
            "trades": 19_904,
            "volume": "437.91552",
            "vwap": "61671.551606654178",
            "last": "61602.02",
            "depth_applied": 6_493,
            "depth_stale": 2,
            "tops_compared": 1_072,
            "tops_equal": 1_072,
            "crossed": 0,
            "gaps": 0,
            "top": ["61602.01", "1.67177", "61602.02", "2.66795"],
        },
    ),
    (
        "binance_usdm",
        ("binance_usdm/btcusdt_20240808.gz",),
        {
            "trades": 21_313,
            "volume": "2429.366",
            "last": "61659.8",
            "depth_applied": 6_547,
            "depth_stale": 4,
            "tops_compared": 629,
            "tops_equal": 629,
            "crossed": 0,
            "gaps": 0,
            "top": ["61659.7", "1.486", "61659.8", "0.981"],
        },
    ),
    ("okx", ("okx/OKX.ws.1.0.gz",), {"snapshots": 3, "depth_applied": 287, "checksums_ok": 290, "checksums_bad": 0}),
    (
        "coinbase",
        ("coinbase/COINBASE.ws.28.0.gz",),
        {"snapshots": 10, "depth_applied": 9_719, "tops_compared": 107, "tops_equal": 100, "trades": 97, "crossed": 0},
    ),
    (
        "binance",
        ("binance_us/BINANCE_US.ws.1.0.gz", "binance_us/BINANCE_US.http.0.0.gz"),
        {"depth_applied": 332, "depth_stale": 4, "tops_compared": 57, "tops_equal": 57, "crossed": 0, "trades": 11},
    ),
]


@pytest.mark.data
@pytest.mark.parametrize(("venue", "files", "proved"), PROVED, ids=[files[0] for _, files, _ in PROVED])
def test_what_the_wire_proves(
    venue: str, files: tuple[str, ...], proved: dict[str, Any], recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = outcome(["data", "check", *(str(recorded / name) for name in files), "--venue", venue, "--json"])

    answer = json.loads(capsys.readouterr().out)
    assert {key: answer["total"][key] for key in proved} == proved
    assert (code, answer["ok"]) == (0, True)


@pytest.mark.data
def test_the_recorders_clock_is_told(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome(["data", "check", *(str(recorded / name) for name in SPOT), "--venue", "binance", "--json"])

    assert json.loads(capsys.readouterr().out)["total"]["clock_lag_ms"]["p50"] == pytest.approx(-1_270, abs=10)


@pytest.mark.data
def test_a_page_with_pictures_is_written(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"

    code = outcome(
        ["data", "check", *(str(recorded / name) for name in SPOT), "--venue", "binance", "--html", str(page)]
    )

    text = page.read_text()
    assert code == 0
    assert "every book is exact" in capsys.readouterr().out
    assert text.count("<svg") == 2
    assert "61671.551606654178" in text
    assert "://" not in text  # it needs no network


def test_a_hole_in_the_sequence_is_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = {"lastUpdateId": 10, "bids": [["99.00", "1"]], "asks": [["101.00", "1"]]}
    deltas = [
        {
            "stream": "btcusdt@depth@100ms",
            "data": {"e": "depthUpdate", "E": n, "s": "BTCUSDT", "U": n, "u": n, "b": [["99.00", "2"]], "a": []},
        }
        for n in (11, 12, 14)
    ]
    lines = [msgspec.json.encode(one).decode() for one in (snapshot, *deltas)]
    tape = tmp_path / "tape"
    tape.write_text("".join(f"{1_700_000_000_000_000_000 + n} {line}\n" for n, line in enumerate(lines)))

    code = outcome(["data", "check", str(tape), "--venue", "binance", "--json"])

    answer = json.loads(capsys.readouterr().out)
    assert (code, answer["ok"], answer["total"]["gaps"]) == (1, False, 1)
    assert "expected update 13, got 14" in answer["notices"][0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["check", "none.gz", "--venue", "binance"], "none.gz: cannot be read: No such file"),
        (["check", "none.gz", "--venue", "ftx"], "'ftx' is unknown"),
        (["check", "none.gz"], "Missing option '--venue'"),
    ],
)
def test_what_cannot_be_checked_is_told_in_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(["data", *words]) == 2

    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert told in output.err


def test_a_symbol_that_is_named_decides_what_the_venues_name_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = tmp_path / "tape"
    frames = [
        f'1700000000000000000 {{"stream":"{name.lower()}@trade","data":{{"e":"trade","E":1699999999999,"s":"{name}",'
        f'"t":1,"p":"60","q":"2","T":1699999999999,"m":true}}}}\n'
        for name in ("BNBUSD", "BTCNOQUOTE")
    ]
    tape.write_text("".join(frames))

    assert outcome(["data", "check", str(tape), "--venue", "binance", "--symbols", "BNB/USD", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["instruments"]) == ["BNB/USD"]
    assert outcome(["data", "check", str(tape), "--venue", "binance"]) == 1
    assert "BTCNOQUOTE is left out: 'BTCNOQUOTE' ends in no quote asset of the venue" in capsys.readouterr().out


def test_a_symbol_that_is_not_in_the_capture_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tape = tmp_path / "tape"
    tape.write_text('1700000000000000000 {"stream":"btcusdt@trade","data":{"s":"BTCUSDT"}}\n')

    assert outcome(["data", "check", str(tape), "--venue", "binance", "--symbols", "ETH/USDT"]) == 2
    assert "ETH/USDT is not in the capture; it holds BTC/USDT" in capsys.readouterr().err
