"""A capture of several connections, of missing books and of pages in place of answers: told as it is."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from edgefleet.errors import Misuse
from edgefleet.messages import BookSnapshot
from edgefleet.store.market.archive import MarketArchive
from edgefleet_services.data.check import check_capture, told
from edgefleet_services.data.convert import convert_files

START_S = 1_700_000_000
STREAM = "wss://stream.binance.com:9443/stream"
HTML = "<html><body>down for maintenance</body></html>"


def at(second: float) -> str:
    return f"{START_S + second:.3f}"


def depth(second: float, name: str, first: int, price: str = "100") -> str:
    data = (
        f'{{"e":"depthUpdate","E":{int((START_S + second) * 1000)},"s":"{name}","U":{first},"u":{first + 1},'
        f'"b":[["{price}","1"]],"a":[]}}'
    )
    return f'{at(second)}: {{"stream":"{name.lower()}@depth@100ms","data":{data}}}'


def trade(second: float, name: str, number: int, price: str = "100") -> str:
    ms = int((START_S + second) * 1000)
    data = f'{{"e":"trade","E":{ms},"s":"{name}","t":{number},"p":"{price}","q":"1","T":{ms},"m":true,"M":true}}'
    return f'{at(second)}: {{"stream":"{name.lower()}@trade","data":{data}}}'


def rest(second: float, name: str, last: int, body: str | None = None, price: str = "99") -> str:
    book = f'{{"lastUpdateId":{last},"bids":[["{price}","1"]],"asks":[["101","1"]]}}'
    return f"https://api.binance.com/api/v3/depth?symbol={name}&limit=1000 -> {at(second)}: {body or book}"


def connect(second: float) -> str:
    return f"{STREAM} <-> {at(second)}"


def bare(line: str) -> str:
    """Return a REST answer as old tapes have it: without an address."""
    stamp, _, body = line.partition(" -> ")[2].partition(": ")
    return f"{int(float(stamp) * 1000)}000000 {body}"


def capture(folder: Path, **files: list[str]) -> list[Path]:
    paths = []
    for name, lines in files.items():
        paths.append(folder / f"{name}.txt")
        paths[-1].write_text("\n".join(lines) + "\n")
    return paths


def one_symbol(name: str, first: int, since: float = 0.0, price: str = "100") -> list[str]:
    return [
        connect(since),
        *(depth(since + 1 + n / 10, name, first + 2 * n, price) for n in range(5)),
        trade(since + 2, name, first, price),
        trade(since + 3, name, first + 1, price),
    ]


def checked(files: list[Path], *symbols: str) -> dict[str, Any]:
    return check_capture(files, "binance", symbols).body


def test_two_connections_do_not_disturb_each_other(tmp_path: Path) -> None:
    files = capture(
        tmp_path,
        btc=one_symbol("BTCUSDT", 11),
        eth=one_symbol("ETHUSDT", 501, since=0.5),
        http=[rest(0.6, "BTCUSDT", 10), rest(0.7, "ETHUSDT", 500)],
    )

    body = checked(files)

    assert body["ok"]
    assert (body["total"]["snapshots"], body["total"]["depth_applied"], body["total"]["trades"]) == (2, 10, 4)
    assert (body["disconnects"], body["lost_books"], body["without_book"]) == (0, [], [])


def test_a_capture_that_goes_on_in_another_file_connected_anew(tmp_path: Path) -> None:
    first, second = one_symbol("BTCUSDT", 11), one_symbol("BTCUSDT", 101, since=60)
    http = [rest(0.5, "BTCUSDT", 10), rest(60.5, "BTCUSDT", 100)]

    body = checked(capture(tmp_path, a=first, b=second, http=http))

    assert body["ok"]
    assert (body["disconnects"], body["total"]["snapshots"], body["total"]["depth_applied"]) == (1, 2, 10)


def test_after_a_reconnect_without_a_book_prints_go_on_and_the_book_is_said_to_be_lost(tmp_path: Path) -> None:
    again = one_symbol("BTCUSDT", 101, since=60)

    body = checked(capture(tmp_path, a=[*one_symbol("BTCUSDT", 11), *again], http=[rest(0.5, "BTCUSDT", 10)]))

    assert not body["ok"]
    assert body["total"]["trades"] == 4
    assert body["lost_books"] == ["BTC/USDT"]


@pytest.mark.parametrize("answer", [HTML, '{"code":-1121,"msg":"Invalid symbol."}'])
def test_one_book_that_did_not_come_costs_the_others_nothing(tmp_path: Path, answer: str) -> None:
    both = [connect(0), *one_symbol("BTCUSDT", 11)[1:], *one_symbol("ETHUSDT", 501)[1:]]

    body = checked(capture(tmp_path, both=both, http=[rest(0.5, "BTCUSDT", 10), rest(0.6, "ETHUSDT", 0, answer)]))

    assert not body["ok"]
    assert body["instruments"]["BTC/USDT"]["depth_applied"] == 5
    assert body["total"]["trades"] == 4
    assert body["without_book"] == ["ETH/USDT"]
    assert body["undecodable"] == 1


def test_a_book_without_an_address_is_that_of_its_files_only_instrument(tmp_path: Path) -> None:
    btc = [bare(rest(0.5, "BTCUSDT", 10)), *one_symbol("BTCUSDT", 11)[1:]]
    eth = [bare(rest(0.4, "ETHUSDT", 500)), *one_symbol("ETHUSDT", 501, price="7")[1:]]
    files = capture(tmp_path, btc=btc, eth=eth)

    alone = checked(files, "ETH/USDT")

    assert alone["ok"]
    assert alone["instruments"]["ETH/USDT"]["top"][:2] == ["99", "1"]
    assert alone["total"]["depth_applied"] == 5
    assert checked(files)["total"]["depth_applied"] == 10


def test_a_book_of_nobody_is_told_and_left_out(tmp_path: Path) -> None:
    both = [bare(rest(0.5, "BTCUSDT", 10)), *one_symbol("BTCUSDT", 11)[1:], *one_symbol("ETHUSDT", 501)[1:]]
    files = capture(tmp_path, both=both)

    body = checked(files)
    done = convert_files(files, tmp_path / "archive", kind=None, venue="binance", symbols=["ETH/USDT"])

    assert not body["ok"]
    assert body["total"]["snapshots"] == 0
    assert "1 REST books say nothing of whose they are" in body["notices"][0]
    assert done.left_out == {
        "REST books that say nothing of whose they are": 1,
        "depth frames that no book could take": 5,
    }
    assert not [one for one in MarketArchive(tmp_path / "archive").read() if isinstance(one, BookSnapshot)]


def test_no_book_is_not_called_exact(tmp_path: Path) -> None:
    files = capture(tmp_path, a=one_symbol("BTCUSDT", 11))

    answer = check_capture(files, "binance", [])

    assert not answer.ok
    assert list(told(answer))[-1].startswith("NOT WELL: see books")


def test_prints_alone_are_sound_and_prove_no_book(tmp_path: Path) -> None:
    files = capture(tmp_path, a=[connect(0), trade(1, "BTCUSDT", 1), trade(2, "BTCUSDT", 2)])

    answer = check_capture(files, "binance", [])

    assert answer.ok
    assert list(told(answer))[-1] == "no book to prove; what was read is sound"


def test_what_a_fleets_quality_checks_find_is_told_and_left_in(tmp_path: Path) -> None:
    repeated = [connect(0), *(trade(n, "BTCUSDT", n) for n in range(1, 40)), trade(4_000, "BTCUSDT", 41)]

    body = checked(capture(tmp_path, a=repeated))

    assert body["faults"] == {"time_gap": 1}
    assert Decimal(body["total"]["volume"]) == 40


def test_a_symbol_that_is_not_there_is_refused_by_the_conversion_too(tmp_path: Path) -> None:
    files = capture(tmp_path, a=one_symbol("BTCUSDT", 11))

    with pytest.raises(Misuse, match="NO/SUCH is not in the capture; it holds BTC/USDT"):
        convert_files(files, tmp_path / "archive", kind="wire", venue="binance", symbols=["NO/SUCH"])


def test_a_capture_of_another_venue_is_told_by_that_venues_name(tmp_path: Path) -> None:
    files = capture(tmp_path, a=one_symbol("BTCUSDT", 11))

    with pytest.raises(Misuse, match="no market data of okx; what is in it binance reads: --venue binance"):
        check_capture(files, "okx", [])


def test_a_venue_of_several_wires_is_read_by_the_one_that_the_capture_is_of(tmp_path: Path) -> None:
    frame = '[0,[["100.10000","2.00000000","1700000001.000000","b","m",""]],"trade","XBT/USD"]'
    files = capture(tmp_path, a=[f"{at(2)}: {frame}"])

    answer = check_capture(files, "Kraken", ["XBT/USD"])

    assert (answer.body["dialect"], answer.body["total"]["trades"]) == ("kraken_v1", 1)
    assert list(told(answer))[1] == "  read as kraken_v1"


def test_a_recorders_clock_that_was_set_back_makes_no_negative_time(tmp_path: Path) -> None:
    body = checked(capture(tmp_path, a=[trade(60, "BTCUSDT", 1), trade(0, "BTCUSDT", 2)]))

    assert body["seconds"] == 60.0
