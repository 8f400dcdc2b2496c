"""`edgefleet data record`, `convert` and `info`: markets into an archive, and back out of it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from tests.integration.venue_server import RunningVenue, running

from edgefleet.clock import SYSTEM
from edgefleet.messages import BookDelta, Quote, Trade
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.recorder import Recorder
from edgefleet.venues.tape import check_tape
from edgefleet_services.cli.main import outcome
from edgefleet_services.data.record import not_kept
from edgefleet_services.replay import replay_tape
from edgefleet_services.venue.service import VenueOptions

CONF = Path(__file__).parents[2] / "conf"
SPOT = ("btcusdt_20240808.gz", "btcusdt_20240809.gz")


@pytest.mark.data
def test_a_wire_tape_is_converted_once_and_comes_back_exact(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "convert", *(str(recorded / "binance_spot" / name) for name in SPOT)]
    words += ["--venue", "binance", "--out", str(tmp_path), "--json"]

    first = (outcome(words), json.loads(capsys.readouterr().out))
    second = (outcome(words), json.loads(capsys.readouterr().out))

    assert (first[0], first[1]["already"], second[0], second[1]["already"]) == (0, False, 0, True)
    assert first[1]["rows"] == second[1]["rows"]
    read = list(MarketArchive(tmp_path).read(["trade", "quote", "book_delta"], ["BTC/USDT@binance"]))
    prints = [message for message in read if isinstance(message, Trade)]
    assert (len(prints), sum(one.quantity for one in prints)) == (19_904, Decimal("437.91552"))
    assert sum(isinstance(message, Quote) for message in read) == 73_174
    assert sum(isinstance(message, BookDelta) for message in read) == 6_493


@pytest.mark.data
def test_stock_files_are_known_by_their_columns(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(recorded / "stocks_taq" / name) for name in ("quotes.csv.gz", "trades.csv.gz")]

    assert outcome(["data", "convert", *files, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert outcome(["data", "info", str(tmp_path), "--check", "--json"]) == 0

    body = json.loads(capsys.readouterr().out)
    rows = {(one["instrument"], one["kind"]): one["rows"] for one in body["holdings"]}
    assert rows["XXX/USD@xnys", "quote"] == 94_422
    assert body["whole"]


@pytest.mark.integration
def test_a_live_market_is_recorded_and_its_tape_checks_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(VenueOptions(market="synthetic", port=0, symbols=("BTC/USDT", "ETH/USDT"))) as venue:
        assert recorded_from(venue, "BTC/USDT,ETH/USDT", tmp_path) == 0

    capsys.readouterr()
    kinds = {type(message) for message in MarketArchive(tmp_path).read(["trade", "quote", "book_delta"])}
    assert kinds == {Trade, Quote, BookDelta}
    tapes = [str(path) for path in (tmp_path / "tapes").glob("*.gz")]
    assert outcome(["data", "check", *tapes, "--venue", "binance", "--json"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    assert total["snapshots"] == 2
    assert total["tops_compared"] == total["tops_equal"] > 0
    summary = check_tape([Path(tape) for tape in tapes])
    assert (set(summary.symbols), summary.snapshots) == ({"BTCUSDT", "ETHUSDT"}, 2)
    replayed = replay_tape([Path(tape) for tape in tapes], CONF, ("BTC/USDT", "ETH/USDT"), seed=1, progress=silent)
    assert all(one["book_deltas"] > 9 and not one["book_gaps"] for one in replayed["market"].values())
    options = VenueOptions(market="tape", port=0, symbols=("BTC/USDT", "ETH/USDT"), tape=tuple(map(Path, tapes)))
    with running(options) as venue:
        assert recorded_from(venue, "BTC/USDT,ETH/USDT", tmp_path / "again") == 0
    capsys.readouterr()
    tapes = [str(path) for path in (tmp_path / "again" / "tapes").glob("*.gz")]
    assert outcome(["data", "check", *tapes, "--venue", "binance", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["total"]["snapshots"] == 2
    assert again["total"]["tops_compared"] == again["total"]["tops_equal"] > 0
    assert 0 < again["seconds"] < 60


def recorded_from(venue: RunningVenue, symbols: str, out: Path) -> int:
    words = ["data", "record", "--venue", "sim", "--symbols", symbols, "--duration", "3", "--out", str(out)]
    return outcome([*words, "--venue-url", venue.rest.removesuffix("/api/v3")])


def silent(text: str) -> None:
    """Say nothing."""


def test_what_has_no_place_on_a_tape_is_told_with_its_reason(tmp_path: Path) -> None:
    with Recorder(MarketArchive(tmp_path), "v", SYSTEM, tape_dir=tmp_path / "tapes") as recorder:
        recorder.take_frame(1, b'[{"T":"q"}]')
        recorder.take_frame(2, b"pong")
        recorder.take_frame(3, b"<html>maintenance</html>")

    (line,) = not_kept(recorder.counts)
    assert line.startswith("2 frames on the tape; the last: a tape's line is a stamp and a JSON object or array")
    assert "<html>maintenance" in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["convert", "none.gz", "--out", "x"], "none.gz: no such file"),
        (["info", "none"], "none: no such directory"),
        (["record", "--venue", "sim"], "name what to record"),
        (["record", "--venue", "ftx", "--symbols", "BTC/USDT"], "'ftx' is unknown"),
        (["record", "--venue", "sim", "--symbols", "BTC/USDT", "--duration", "-1"], "is no time to record"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert outcome(["data", *words]) == 2

    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert told in output.err


def test_wire_without_a_venue_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tape = tmp_path / "tape"
    tape.write_text("1700000000000000000 {}\n")

    assert outcome(["data", "convert", str(tape), "--out", str(tmp_path / "out")]) == 2
    assert "recorded wire needs --venue" in capsys.readouterr().err


def test_a_directory_that_is_no_archive_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["data", "info", str(tmp_path)]) == 2
    assert "holds no market archive" in capsys.readouterr().err
