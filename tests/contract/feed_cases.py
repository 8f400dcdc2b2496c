"""The frames that every feed is held to: recorded where there is a recording, else of a small simulated venue.

The readers here are the oracle's eyes: plain JSON, no code of the feeds.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from tests.contract import venue_simulators as simulated

from edgefleet.messages.market import Level
from edgefleet.params.schema.venues import DIALECTS
from edgefleet.testing.feed_harness import Change, FeedCase, Line, OracleBook
from edgefleet.venues.dialect import Dialect, FeedOptions

STEPS = 300


def load(name: str) -> Dialect:
    """Return a dialect; skip where its very module is not in this tree."""
    try:
        module = import_module(DIALECTS[name])
    except ModuleNotFoundError as error:
        if error.name is not None and (DIALECTS[name] == error.name or DIALECTS[name].startswith(f"{error.name}.")):
            pytest.skip(f"{DIALECTS[name]} is not there")
        raise
    found = module.DIALECT
    assert isinstance(found, Dialect)
    return found


def parse(body: bytes) -> Any:
    """Return JSON with numbers as written, None where it is none."""
    try:
        return json.loads(body, parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        return None


def levels(rows: Sequence[Sequence[Any]]) -> tuple[Level, ...]:
    return tuple((Decimal(row[0]), Decimal(row[1])) for row in rows)


def capture(path: Path) -> list[Line]:
    """Return the received frames of a cryptofeed capture."""
    return list(_capture(path))


def _capture(path: Path) -> Iterator[Line]:
    with gzip.open(path, "rb") as stream:
        for raw in stream:
            head, _, body = raw.rstrip(b"\r\n").partition(b": ")
            if head.replace(b".", b"").isdigit():
                yield Line(int(Decimal(head.decode()) * 10**9), body)


def tape(path: Path, count: int) -> list[Line]:
    """Return the first lines of a Binance tape."""
    lines = []
    with gzip.open(path, "rb") as stream:
        for raw, _ in zip(stream, range(count), strict=False):
            stamp, _, body = raw.rstrip(b"\r\n").partition(b" ")
            lines.append(Line(int(stamp), body, "BTCUSDT" if b'"stream"' not in body[:12] else None))
    return lines


def replaced(body: bytes, old: str, new: str) -> bytes | None:
    """Return the frame with the first `old` in it replaced, None where it is not in it."""
    return body.replace(old.encode(), new.encode(), 1) if old.encode() in body else None


def through(read: Callable[[bytes], Sequence[Change]], shape: str) -> Callable[[bytes], bytes | None]:
    """Return a function that puts a price of a frame far through the other side.

    One that stays on its own side only a checksum would tell. `shape` is how the venue writes a price, with `{}` for
    its digits.
    """

    def absurd(body: bytes) -> bytes | None:
        for change in read(body):
            for side, factor in ((change.bids, Decimal("1e7")), (change.asks, Decimal("1e-7"))):
                for price, size in side:
                    if size and not change.whole:
                        return replaced(body, shape.format(f"{price:f}"), shape.format(f"{price * factor:f}"))
        return None

    return absurd


def poisoned(read: Callable[[bytes], Sequence[Change]], shape: str) -> Callable[[bytes, str], bytes | None]:
    """Return a function that replaces the first price of a book frame by another text."""

    def poison(body: bytes, text: str) -> bytes | None:
        for change in read(body):
            for price, _ in (*change.bids, *change.asks):
                return replaced(body, shape.format(f"{price:f}"), shape.format(text))
        return None

    return poison


# --- Binance


def read_binance(body: bytes) -> list[Change]:
    found = parse(body)
    if not isinstance(found, dict):
        return []
    if "lastUpdateId" in found:
        return [Change("BTCUSDT", True, levels(found["bids"]), levels(found["asks"]), int(found["lastUpdateId"]))]
    data = found.get("data")
    if not isinstance(data, dict) or data.get("e") != "depthUpdate":
        return []
    return [Change(data["s"], False, levels(data["b"]), levels(data["a"]), int(data["u"]))]


def binance_rest(name: str, book: OracleBook, last: bytes) -> bytes:
    bids, asks = book.top(None)
    rows = {
        key: [[f"{price:f}", f"{size:f}"] for price, size in side] for key, side in (("bids", bids), ("asks", asks))
    }
    return json.dumps({"lastUpdateId": book.update_id, **rows}).encode()


def binance(recorded: Path, name: str, folder: str, settled: str) -> FeedCase:
    return FeedCase(
        id=name,
        dialect=load(name),
        symbols=(f"BTC/USDT{settled}",),
        stranger=f"LTC/USDT{settled}",
        lines=tuple(tape(recorded / folder / "btcusdt_20240808.gz", 900)),
        read=read_binance,
        snapshot=binance_rest,
        absurd_price=through(read_binance, '["{}"'),
        poison=poisoned(read_binance, '["{}"'),
        tops_of_books=False,
    )


def binance_spot(recorded: Path) -> FeedCase:
    return binance(recorded, "binance", "binance_spot", "")


def binance_usdm(recorded: Path) -> FeedCase:
    return binance(recorded, "binance_usdm", "binance_usdm", ":USDT")


# --- Coinbase


def read_coinbase(body: bytes) -> list[Change]:
    found = parse(body)
    if not isinstance(found, dict):
        return []
    if found.get("type") == "snapshot":
        return [Change(found["product_id"], True, levels(found["bids"]), levels(found["asks"]))]
    if found.get("type") != "l2update" or "changes" not in found:
        return []
    sides = {side: levels([row[1:] for row in found["changes"] if row[0] == side]) for side in ("buy", "sell")}
    return [Change(found["product_id"], False, sides["buy"], sides["sell"])]


def coinbase_snapshot(name: str, book: OracleBook, last: bytes) -> bytes:
    bids, asks = book.top(None)
    rows = {
        key: [[f"{price:f}", f"{size:f}"] for price, size in side] for key, side in (("bids", bids), ("asks", asks))
    }
    return json.dumps({"type": "snapshot", "product_id": name, **rows}).encode()


def coinbase(recorded: Path) -> FeedCase:
    why = "level2 has no sequence: what is missing or late is seen by the stamps of one product, a cross, the ticker"
    return FeedCase(
        id="coinbase",
        dialect=load("coinbase"),
        symbols=("SKL/USD", "SKL/BTC", "BAND/GBP", "NMR/EUR"),
        stranger="ETH/USD",
        lines=tuple(capture(recorded / "coinbase" / "COINBASE.ws.28.0.gz")[:1_000]),
        read=read_coinbase,
        snapshot=coinbase_snapshot,
        absurd_price=through(read_coinbase, '"{}"'),
        poison=poisoned(read_coinbase, '"{}"'),
        blind={"drop": why, "duplicate": why, "reorder": why},
    )


def read_advanced(body: bytes) -> list[Change]:
    found = parse(body)
    if not isinstance(found, dict) or found.get("channel") != "l2_data":
        return []
    changes = []
    for event in found.get("events", []):
        rows = {
            side: levels([(row["price_level"], row["new_quantity"]) for row in event["updates"] if row["side"] == side])
            for side in ("bid", "offer")
        }
        changes.append(Change(event["product_id"], event["type"] == "snapshot", rows["bid"], rows["offer"]))
    return changes


def advanced_snapshot(name: str, book: OracleBook, last: bytes) -> bytes:
    frame = json.loads(last)
    bids, asks = book.top(None)
    rows = [
        {"side": side, "price_level": f"{price:f}", "new_quantity": f"{size:f}"}
        for side, of in (("bid", bids), ("offer", asks))
        for price, size in of
    ]
    frame["events"] = [{"type": "snapshot", "product_id": name, "updates": rows}]
    return json.dumps(frame, separators=(",", ":")).encode()


def advanced_number(body: bytes, count: int) -> bytes:
    head, key, rest = body.partition(b'"sequence_num":')
    digits = len(rest) - len(rest.lstrip(b"0123456789"))
    return b"%b%b%d%b" % (head, key, count, rest[digits:]) if key else body


def coinbase_advanced(recorded: Path) -> FeedCase:
    return FeedCase(
        id="coinbase_advanced",
        dialect=load("coinbase_advanced"),
        symbols=("BTC/USD", "DOGE/USD"),
        stranger="LTC/USD",
        lines=tuple(
            Line(one.stamp_ns, advanced_number(one.body, count))
            for count, one in enumerate(simulated.advanced_frames(STEPS))
        ),
        read=read_advanced,
        snapshot=advanced_snapshot,
        number=advanced_number,
        absurd_price=through(read_advanced, '"price_level":"{}"'),
        poison=poisoned(read_advanced, '"price_level":"{}"'),
    )


# --- Kraken


def read_kraken(body: bytes) -> list[Change]:
    found = parse(body)
    if not isinstance(found, dict) or found.get("channel") != "book" or "type" not in found:
        return []
    return [
        Change(
            item["symbol"],
            found["type"] == "snapshot",
            levels([(row["price"], row["qty"]) for row in item["bids"]]),
            levels([(row["price"], row["qty"]) for row in item["asks"]]),
        )
        for item in found["data"]
        if "symbol" in item
    ]


def wrong_checksum(key: str) -> Callable[[bytes], bytes | None]:
    """Return a function that changes the number behind `key`."""

    def wrong(body: bytes) -> bytes | None:
        head, found, rest = body.partition(key.encode())
        if not found:
            return None
        digits = len(rest) - len(rest.lstrip(b"0123456789-"))
        return b"%b%b%d%b" % (head, found, int(rest[:digits]) ^ 1, rest[digits:])

    return wrong


def kraken_snapshot(name: str, book: OracleBook, last: bytes) -> bytes:
    market = next(one for one in simulated.markets() if one.symbol == name)
    bids, asks = book.top(10)
    texts = {
        side: [(f"{price:.{market.price_decimals}f}", f"{size:.{market.size_decimals}f}") for price, size in of]
        for side, of in (("bid", bids), ("ask", asks))
    }
    return simulated.kraken_v2_snapshot(market, texts, None).encode()


def kraken(recorded: Path) -> FeedCase:
    return FeedCase(
        id="kraken",
        dialect=load("kraken"),
        symbols=("BTC/USD", "DOGE/USD"),
        stranger="LTC/USD",
        lines=tuple(simulated.kraken_v2_frames(STEPS)),
        read=read_kraken,
        snapshot=kraken_snapshot,
        wrong_checksum=wrong_checksum('"checksum":'),
        absurd_price=through(read_kraken, '"price":{},'),
        poison=poisoned(read_kraken, '"price":{},'),
        depth=10,
        proven_levels=10,
    )


def read_kraken_v1(body: bytes) -> list[Change]:
    found = parse(body)
    if not isinstance(found, list) or len(found) < 4 or not str(found[-2]).startswith("book"):
        return []
    parts = [part for part in found[1:-2] if isinstance(part, dict)]
    rows = {key: [row for part in parts for row in part.get(key, [])] for key in ("as", "bs", "a", "b")}
    if any(len(row) < 2 for side in rows.values() for row in side):
        return []
    whole = any("as" in part or "bs" in part for part in parts)
    bids, asks = (rows["bs"], rows["as"]) if whole else (rows["b"], rows["a"])
    return [Change(found[-1], whole, levels(bids), levels(asks))]


def kraken_v1_snapshot(name: str, book: OracleBook, last: bytes) -> bytes:
    our_name = next(ours for ours, theirs in simulated.V1_PAIRS.items() if theirs == name)
    market = next(one for one in simulated.markets() if one.symbol == our_name)
    stamp = max(Decimal(row[2]) for part in json.loads(last)[1:-2] for rows in part.values() for row in rows if row[2:])
    bids, asks = book.top(10)
    texts = {
        side: [(f"{price:.{market.price_decimals}f}", f"{size:.{market.size_decimals}f}") for price, size in of]
        for side, of in (("bid", bids), ("ask", asks))
    }
    return simulated.kraken_v1_snapshot(0, name, texts, 10, int(stamp * 10**9)).encode()


def kraken_v1(recorded: Path) -> FeedCase:
    return FeedCase(
        id="kraken_v1",
        dialect=load("kraken_v1"),
        symbols=("BTC/USD", "DOGE/USD"),
        stranger="LTC/USD",
        lines=tuple(simulated.kraken_v1_frames(STEPS)),
        read=read_kraken_v1,
        snapshot=kraken_v1_snapshot,
        wrong_checksum=wrong_checksum('"c":"'),
        absurd_price=through(read_kraken_v1, '["{}"'),
        poison=poisoned(read_kraken_v1, '["{}"'),
        depth=10,
        proven_levels=10,
        numbered_prints=False,
    )


# --- OKX


def read_okx(body: bytes) -> list[Change]:
    found = parse(body)
    if not isinstance(found, dict) or found.get("action") not in ("snapshot", "update"):
        return []
    return [
        Change(found["arg"]["instId"], found["action"] == "snapshot", levels(item["bids"]), levels(item["asks"]))
        for item in found["data"]
    ]


def okx_snapshot(name: str, book: OracleBook, last: bytes) -> bytes:
    frame = json.loads(last)
    bids, asks = book.top(None)
    rows = {
        key: [[f"{price:f}", f"{size:f}", "0", "1"] for price, size in side]
        for key, side in (("bids", bids), ("asks", asks))
    }
    parts = []
    for at in range(25):
        parts += [":".join(rows[side][at][:2]) for side in ("bids", "asks") if at < len(rows[side])]
    checksum = crc32(":".join(parts).encode())
    signed = checksum - (1 << 32) if checksum >= 1 << 31 else checksum
    frame["action"] = "snapshot"
    frame["data"] = [{**rows, "ts": frame["data"][0]["ts"], "checksum": signed}]
    return json.dumps(frame, separators=(",", ":")).encode()


def okx(recorded: Path) -> FeedCase:
    return FeedCase(
        id="okx",
        dialect=load("okx"),
        symbols=("BTC/USDT",),
        stranger="LTC/USDT",
        lines=tuple(capture(recorded / "okx" / "OKX.ws.1.0.gz")),
        read=read_okx,
        snapshot=okx_snapshot,
        wrong_checksum=wrong_checksum('"checksum":'),
        absurd_price=through(read_okx, '["{}"'),
        poison=poisoned(read_okx, '["{}"'),
        proven_levels=25,
        numbered_prints=False,
    )


# --- Alpaca


def alpaca(recorded: Path) -> FeedCase:
    return FeedCase(
        id="alpaca",
        dialect=load("alpaca"),
        symbols=("AAPL/USD", "MSFT/USD"),
        stranger="TSLA/USD",
        lines=tuple(simulated.alpaca_frames(STEPS)),
        read=lambda body: (),
        numbered_prints=False,
        tops_of_books=False,
        options=FeedOptions(key="key", secret="secret"),
    )


CASES: dict[str, Callable[[Path], FeedCase]] = {
    "binance": binance_spot,
    "binance_usdm": binance_usdm,
    "coinbase": coinbase,
    "coinbase_advanced": coinbase_advanced,
    "kraken": kraken,
    "kraken_v1": kraken_v1,
    "okx": okx,
    "alpaca": alpaca,
}
RECORDED = frozenset({"binance", "binance_usdm", "coinbase", "okx"})
