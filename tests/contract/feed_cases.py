"""The frames that every feed is held to: recorded where there is a recording, else of a small simulated venue.

The readers here are the oracle's eyes: plain JSON, no code of the feeds.
"""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import pytest
from tests.contract import venue_simulators as simulated

from edgefleet.messages.market import Level
from edgefleet.params.schema.venues import DIALECTS
from edgefleet.testing.feed_harness import Change, FeedCase, Line, OracleBook, Print
from edgefleet.venues.capture import read_capture
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


def recorded_lines(path: Path, dialect: Dialect, *, only: str | None = None) -> Iterator[Line]:
    """Yield the frames and REST books of a recording of one connection.

    `only` is the venue's name of the one instrument in it, whose books those without an address are.
    """
    for one in read_capture([path]):
        if one.kind == "frame":
            yield Line(one.stamp_ns, one.body)
        elif one.kind == "rest":
            book_of = dialect.book_of(one.url) if one.url else only
            assert book_of is not None or one.url, f"{path} does not say whose book {one.body[:60]!r} is"
            if book_of is not None:
                yield Line(one.stamp_ns, one.body, book_of)


def replaced(body: bytes, old: str, new: str) -> bytes | None:
    """Return the frame with the first `old` in it replaced, None where it is not in it."""
    return body.replace(old.encode(), new.encode(), 1) if old.encode() in body else None


def through(read: Callable[[bytes, str | None], Sequence[Change]], shape: str) -> Callable[[bytes], bytes | None]:
    """Return a function that puts a price of a frame far through the other side.

    One that stays on its own side only a checksum would tell. `shape` is how the venue writes a price, with `{}` for
    its digits.
    """

    def absurd(body: bytes) -> bytes | None:
        for change in read(body, None):
            for side, factor in ((change.bids, Decimal("1e7")), (change.asks, Decimal("1e-7"))):
                for price, size in side:
                    if size and not change.whole:
                        return replaced(body, shape.format(f"{price:f}"), shape.format(f"{price * factor:f}"))
        return None

    return absurd


def poisoned(read: Callable[[bytes, str | None], Sequence[Change]], shape: str) -> Callable[[bytes, str], bytes | None]:
    """Return a function that replaces the first price of a book frame by another text."""

    def poison(body: bytes, text: str) -> bytes | None:
        for change in read(body, None):
            for price, _ in (*change.bids, *change.asks):
                return replaced(body, shape.format(f"{price:f}"), shape.format(text))
        return None

    return poison


def poisoned_prints(
    read: Callable[[bytes], Sequence[Print]], price: str, quantity: str
) -> Callable[[bytes, str], list[bytes]]:
    """Return a function that replaces the first print's price, and then its quantity, by another text."""

    def poison(body: bytes, text: str) -> list[bytes]:
        found = []
        for one in read(body)[:1]:
            found += [
                replaced(body, price.format(f"{one.price:f}"), price.format(text)),
                replaced(body, quantity.format(f"{one.quantity:f}"), quantity.format(text)),
            ]
        return [changed for changed in found if changed is not None]

    return poison


def taker_of(maker: str) -> Literal["buy", "sell"]:
    return "sell" if maker.lower() == "buy" else "buy"


def ns_of(text: str) -> int:
    """Return nanoseconds of ``2023-11-14T22:13:20.123456Z``, with up to nine digits behind the point."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 10**9 + int(f"{fraction:0<9}")


# --- Binance


def read_binance(body: bytes, book_of: str | None = None) -> list[Change]:
    found = parse(body)
    if not isinstance(found, dict):
        return []
    if book_of is not None:
        return [Change(book_of, True, levels(found["bids"]), levels(found["asks"]), int(found["lastUpdateId"]))]
    data = found.get("data")
    if not isinstance(data, dict) or data.get("e") != "depthUpdate":
        return []
    return [Change(data["s"], False, levels(data["b"]), levels(data["a"]), int(data["u"]))]


def prints_binance(body: bytes) -> list[Print]:
    found = parse(body)
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, dict) or data.get("e") != "trade":
        return []
    side: Literal["buy", "sell"] = "sell" if data["m"] else "buy"
    price, quantity = Decimal(data["p"]), Decimal(data["q"])
    return [Print(data["s"], str(data["t"]), price, quantity, side, int(data["T"]) * 10**6)]


def binance_rest(name: str, book: OracleBook, last: bytes) -> bytes:
    bids, asks = book.top(None)
    rows = {
        key: [[f"{price:f}", f"{size:f}"] for price, size in side] for key, side in (("bids", bids), ("asks", asks))
    }
    return json.dumps({"lastUpdateId": book.update_id, **rows}).encode()


def binance(recorded: Path, name: str, folder: str, settled: str) -> FeedCase:
    dialect = load(name)
    return FeedCase(
        id=name,
        dialect=dialect,
        symbols=(f"BTC/USDT{settled}",),
        stranger=f"LTC/USDT{settled}",
        lines=tuple(islice(recorded_lines(recorded / folder / "btcusdt_20240808.gz", dialect, only="BTCUSDT"), 900)),
        read=read_binance,
        read_prints=prints_binance,
        poison_print=poisoned_prints(prints_binance, '"p":"{}"', '"q":"{}"'),
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


def read_coinbase(body: bytes, book_of: str | None = None) -> list[Change]:
    found = parse(body)
    if not isinstance(found, dict):
        return []
    if found.get("type") == "snapshot":
        return [Change(found["product_id"], True, levels(found["bids"]), levels(found["asks"]))]
    if found.get("type") != "l2update" or "changes" not in found:
        return []
    sides = {side: levels([row[1:] for row in found["changes"] if row[0] == side]) for side in ("buy", "sell")}
    return [Change(found["product_id"], False, sides["buy"], sides["sell"])]


def prints_coinbase(body: bytes) -> list[Print]:
    found = parse(body)
    if not isinstance(found, dict) or found.get("type") != "match":
        return []
    price, quantity, taker = Decimal(found["price"]), Decimal(found["size"]), taker_of(found["side"])
    return [Print(found["product_id"], str(found["trade_id"]), price, quantity, taker, ns_of(found["time"]))]


def coinbase_snapshot(name: str, book: OracleBook, last: bytes) -> bytes:
    bids, asks = book.top(None)
    rows = {
        key: [[f"{price:f}", f"{size:f}"] for price, size in side] for key, side in (("bids", bids), ("asks", asks))
    }
    return json.dumps({"type": "snapshot", "product_id": name, **rows}).encode()


def coinbase(recorded: Path) -> FeedCase:
    why = "level2 has no sequence: what is missing or late is seen by the stamps of one product, a cross, the ticker"
    dialect = load("coinbase")
    return FeedCase(
        id="coinbase",
        dialect=dialect,
        symbols=("SKL/USD", "SKL/BTC", "BAND/GBP", "NMR/EUR"),
        stranger="ETH/USD",
        lines=tuple(islice(recorded_lines(recorded / "coinbase" / "COINBASE.ws.28.0.gz", dialect), 1_000)),
        read=read_coinbase,
        read_prints=prints_coinbase,
        poison_print=poisoned_prints(prints_coinbase, '"price":"{}"', '"size":"{}"'),
        snapshot=coinbase_snapshot,
        absurd_price=through(read_coinbase, '"{}"'),
        poison=poisoned(read_coinbase, '"{}"'),
        blind={"drop": why, "duplicate": why, "reorder": why},
    )


def read_advanced(body: bytes, book_of: str | None = None) -> list[Change]:
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


def prints_advanced(body: bytes) -> list[Print]:
    found = parse(body)
    if not isinstance(found, dict) or found.get("channel") != "market_trades":
        return []
    return [
        Print(
            one["product_id"],
            one["trade_id"],
            Decimal(one["price"]),
            Decimal(one["size"]),
            taker_of(one["side"]),
            ns_of(one["time"]),
        )
        for event in found["events"]
        if event["type"] == "update"
        for one in event["trades"]
    ]


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
        read_prints=prints_advanced,
        poison_print=poisoned_prints(prints_advanced, '"price":"{}"', '"size":"{}"'),
        snapshot=advanced_snapshot,
        number=advanced_number,
        absurd_price=through(read_advanced, '"price_level":"{}"'),
        poison=poisoned(read_advanced, '"price_level":"{}"'),
    )


# --- Kraken


def read_kraken(body: bytes, book_of: str | None = None) -> list[Change]:
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


def prints_kraken(body: bytes) -> list[Print]:
    found = parse(body)
    if not isinstance(found, dict) or found.get("channel") != "trade" or found.get("type") != "update":
        return []
    return [
        Print(one["symbol"], str(one["trade_id"]), one["price"], one["qty"], one["side"], ns_of(one["timestamp"]))
        for one in found["data"]
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
        read_prints=prints_kraken,
        poison_print=poisoned_prints(prints_kraken, '"price":{},', '"qty":{},'),
        snapshot=kraken_snapshot,
        wrong_checksum=wrong_checksum('"checksum":'),
        absurd_price=through(read_kraken, '"price":{},'),
        poison=poisoned(read_kraken, '"price":{},'),
        depth=10,
        proven_levels=10,
    )


def read_kraken_v1(body: bytes, book_of: str | None = None) -> list[Change]:
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


def prints_kraken_v1(body: bytes) -> list[Print]:
    found = parse(body)
    if not isinstance(found, list) or len(found) < 4 or found[-2] != "trade":
        return []
    if len(found[1]) > 1:  # a subscription begins with those of before it; ours come one by one
        return []
    sides: dict[str, Literal["buy", "sell"]] = {"b": "buy", "s": "sell"}
    return [
        Print(found[-1], None, Decimal(row[0]), Decimal(row[1]), sides[row[3]], int(Decimal(row[2]) * 10**9))
        for row in found[1]
    ]


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
        read_prints=prints_kraken_v1,
        poison_print=poisoned_prints(prints_kraken_v1, '["{}"', '"{}"'),
        snapshot=kraken_v1_snapshot,
        wrong_checksum=wrong_checksum('"c":"'),
        absurd_price=through(read_kraken_v1, '["{}"'),
        poison=poisoned(read_kraken_v1, '["{}"'),
        depth=10,
        proven_levels=10,
        numbered_prints=False,
    )


# --- OKX


def read_okx(body: bytes, book_of: str | None = None) -> list[Change]:
    found = parse(body)
    if not isinstance(found, dict) or found.get("action") not in ("snapshot", "update"):
        return []
    return [
        Change(found["arg"]["instId"], found["action"] == "snapshot", levels(item["bids"]), levels(item["asks"]))
        for item in found["data"]
    ]


def prints_okx(body: bytes) -> list[Print]:
    found = parse(body)
    if not isinstance(found, dict) or found.get("arg", {}).get("channel") != "trades" or "data" not in found:
        return []
    return [
        Print(
            one["instId"], one["tradeId"], Decimal(one["px"]), Decimal(one["sz"]), one["side"], int(one["ts"]) * 10**6
        )
        for one in found["data"]
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
    dialect = load("okx")
    return FeedCase(
        id="okx",
        dialect=dialect,
        symbols=("BTC/USDT",),
        stranger="LTC/USDT",
        lines=tuple(recorded_lines(recorded / "okx" / "OKX.ws.1.0.gz", dialect)),
        read=read_okx,
        read_prints=prints_okx,
        poison_print=poisoned_prints(prints_okx, '"px":"{}"', '"sz":"{}"'),
        snapshot=okx_snapshot,
        wrong_checksum=wrong_checksum('"checksum":'),
        absurd_price=through(read_okx, '["{}"'),
        poison=poisoned(read_okx, '["{}"'),
        proven_levels=25,
        numbered_prints=False,
    )


# --- Alpaca


def messages_of(body: bytes, kind: str) -> list[dict[str, Any]]:
    found = parse(body)
    return [one for one in found if isinstance(one, dict) and one.get("T") == kind] if isinstance(found, list) else []


def prints_alpaca(body: bytes) -> list[Print]:
    return [
        Print(one["S"], f"{one['x']}{one['i']}", one["p"], one["s"], None, ns_of(one["t"]))
        for one in messages_of(body, "t")
    ]


def poisoned_quote(body: bytes, text: str) -> bytes | None:
    for one in messages_of(body, "q"):
        return replaced(body, f'"bp": {one["bp"]:f},', f'"bp": {text},')
    return None


def alpaca(recorded: Path) -> FeedCase:
    return FeedCase(
        id="alpaca",
        dialect=load("alpaca"),
        symbols=("AAPL/USD", "MSFT/USD"),
        stranger="TSLA/USD",
        lines=tuple(simulated.alpaca_frames(STEPS)),
        read=lambda body, book_of: (),
        read_prints=prints_alpaca,
        books=False,
        poison=poisoned_quote,
        poison_print=poisoned_prints(prints_alpaca, '"p": {},', '"s": {},'),
        late_prints=True,
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
