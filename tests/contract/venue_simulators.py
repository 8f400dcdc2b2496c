"""Small venues that keep a real book and write it as Kraken, Coinbase Advanced Trade and Alpaca do.

They share no code with the feeds: checksums are taken from texts that are formatted here, by the venue's own words.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from zlib import crc32

from edgefleet.testing.feed_harness import Line

START_NS = 1_700_000_000_123_456_000
LAG_NS = -1_270_000_000  # the recorder's clock runs behind the venue's, as on a tape that was really recorded
Changed = list[tuple[str, int, int]]  # side, price in ticks, size in lots; zero: gone
Print = tuple[str, int, int]  # the taker's side, price in ticks, size in lots


@dataclass
class Market:
    """One pair: orders come, change, go and trade."""

    symbol: str
    price_decimals: int
    size_decimals: int
    middle: int  # ticks
    seed: int
    sides: dict[str, dict[int, int]] = field(default_factory=dict)
    prints: int = 41_000

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.sides = {
            "bid": {self.middle - 1 - i: self._size() for i in range(0, 60, 2)},
            "ask": {self.middle + 1 + i: self._size() for i in range(0, 60, 2)},
        }

    def _size(self) -> int:
        return self.random.choice((1, 10, 100)) * self.random.randint(1, 9_999_999)

    def best(self, side: str) -> int:
        return max(self.sides["bid"]) if side == "bid" else min(self.sides["ask"])

    def ordered(self, side: str, depth: int) -> list[tuple[int, int]]:
        return sorted(self.sides[side].items(), reverse=side == "bid")[:depth]

    def step(self) -> tuple[Changed, Print | None]:
        """Let one thing happen; return the levels it changed and the print, if it was one."""
        side = self.random.choice(("bid", "ask"))
        what = self.random.random()
        if what < 0.15 and len(self.sides[side]) > 25:
            return self._trade(side)
        if what < 0.45 and len(self.sides[side]) > 25:
            price = self.random.choice([price for price, _ in self.ordered(side, 14)])
            del self.sides[side][price]
            return [(side, price, 0)], None
        changed: Changed = []
        for _ in range(self.random.choice((1, 1, 2, 3))):
            away = self.random.randint(0, 25)
            price = self.best("ask") - 1 - away if side == "bid" else self.best("bid") + 1 + away
            self.sides[side][price] = size = self._size()
            changed.append((side, price, size))
        return changed, None

    def _trade(self, side: str) -> tuple[Changed, Print]:
        """Let a taker take from `side`: some of its best level, or all of it."""
        price = self.best(side)
        there = self.sides[side][price]
        taken = there if self.random.random() < 0.5 else self.random.randint(1, there)
        left = there - taken
        if left:
            self.sides[side][price] = left
        else:
            del self.sides[side][price]
        self.prints += 1
        return [(side, price, left)], ("sell" if side == "bid" else "buy", price, taken)

    def price(self, ticks: int) -> str:
        return f"{Decimal(ticks).scaleb(-self.price_decimals):.{self.price_decimals}f}"

    def size(self, lots: int) -> str:
        return f"{Decimal(lots).scaleb(-self.size_decimals):.{self.size_decimals}f}"


def markets() -> list[Market]:
    return [Market("BTC/USD", 1, 8, 452_840, seed=1), Market("DOGE/USD", 7, 8, 1_234_560, seed=2)]


def clock(steps: int) -> Iterator[int]:
    """Yield the venue's time of each step."""
    pauses = random.Random(9)
    now = START_NS
    for _ in range(steps):
        now += pauses.choice((7_001_000, 40_000_000, 90_000_000))
        yield now


def rfc3339(ns: int, digits: int = 6) -> str:
    seconds, fraction = divmod(ns, 1_000_000_000)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{f'{fraction:09d}'[:digits]}Z"


def line(now: int, body: str) -> Line:
    return Line(now + LAG_NS, body.encode())


# --- Kraken


def kraken_checksum(market: Market, texts: dict[str, list[tuple[str, str]]]) -> int:
    """Return what the venue's page says: ten asks low to high, ten bids high to low, no point, no leading zeros."""
    text = ""
    for side in ("ask", "bid"):
        for price, size in texts[side][:10]:
            text += price.replace(".", "").lstrip("0") + size.replace(".", "").lstrip("0")
    return crc32(text.encode()) & 0xFFFFFFFF


def texts_of(market: Market, depth: int) -> dict[str, list[tuple[str, str]]]:
    return {
        side: [(market.price(price), market.size(size)) for price, size in market.ordered(side, depth)]
        for side in ("bid", "ask")
    }


class View:
    """A subscriber's cut of a market: what has to be told for it to stay right."""

    def __init__(self, market: Market, depth: int) -> None:
        self.market, self.depth = market, depth
        self.seen = {side: dict(market.ordered(side, depth)) for side in ("bid", "ask")}

    def told(self, changed: Changed) -> list[tuple[str, int, int, bool]]:
        """Return the changes within the depth, and the levels that came into it, which are told again.

        What fell out because another level came in is not told.
        """
        found = []
        for side in ("bid", "ask"):
            now = dict(self.market.ordered(side, self.depth))
            before = self.seen[side]
            mine = {price: size for of, price, size in changed if of == side}
            for price, size in mine.items():
                if price in now:
                    found.append((side, price, size, False))
                elif price in before and size == 0:
                    found.append((side, price, 0, False))
            for price, size in now.items():
                if price not in before and price not in mine:
                    found.append((side, price, size, True))
            self.seen[side] = now
        return found


def kraken_v2_frames(steps: int, depth: int = 10) -> list[Line]:
    """Return a connection of Kraken v2: status, answers, reference, snapshots, then what happens."""
    every = markets()
    lines = [
        line(START_NS, '{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online"}]}'),
        line(START_NS, kraken_v2_instruments(every)),
    ]
    views = []
    for market in every:
        answer = {"channel": "book", "depth": depth, "snapshot": True, "symbol": market.symbol}
        lines.append(line(START_NS, json.dumps({"method": "subscribe", "result": answer, "success": True})))
        lines.append(line(START_NS, kraken_v2_snapshot(market, texts_of(market, depth), rfc3339(START_NS))))
        lines.append(line(START_NS, kraken_v2_prints(market, "snapshot", [("buy", market.middle, 5_000)], START_NS)))
        views.append(View(market, depth))
    choose = random.Random(3)
    for count, now in enumerate(clock(steps)):
        market, view = choose.choice(list(zip(every, views, strict=True)))
        changed, printed = market.step()
        if told := view.told(changed):
            lines.append(line(now, kraken_v2_update(market, told, depth, now)))
        if printed is not None:
            lines.append(line(now, kraken_v2_prints(market, "update", [printed], now)))
            lines.append(line(now, kraken_v2_ticker(market, now)))
        if count % 20 == 19:
            lines.append(line(now, '{"channel":"heartbeat"}'))
    return lines


def kraken_v2_instruments(every: list[Market]) -> str:
    pairs = [
        {
            "symbol": market.symbol,
            "status": "online",
            "price_precision": market.price_decimals,
            "qty_precision": market.size_decimals,
        }
        for market in every
    ]
    return json.dumps({"channel": "instrument", "type": "snapshot", "data": {"assets": [], "pairs": pairs}})


def _v2_levels(texts: list[tuple[str, str]]) -> str:
    return "[" + ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in texts) + "]"


def kraken_v2_snapshot(market: Market, texts: dict[str, list[tuple[str, str]]], stamp: str | None) -> str:
    bids, asks = _v2_levels(texts["bid"]), _v2_levels(texts["ask"])
    at = "" if stamp is None else f',"timestamp":"{stamp}"'
    return (
        f'{{"channel":"book","type":"snapshot","data":[{{"symbol":"{market.symbol}","bids":{bids},"asks":{asks},'
        f'"checksum":{kraken_checksum(market, texts)}{at}}}]}}'
    )


def kraken_v2_update(market: Market, told: list[tuple[str, int, int, bool]], depth: int, now: int) -> str:
    sides = {
        side: _v2_levels([(market.price(price), market.size(size)) for of, price, size, _ in told if of == side])
        for side in ("bid", "ask")
    }
    return (
        f'{{"channel":"book","type":"update","data":[{{"symbol":"{market.symbol}","bids":{sides["bid"]},'
        f'"asks":{sides["ask"]},"checksum":{kraken_checksum(market, texts_of(market, depth))},'
        f'"timestamp":"{rfc3339(now)}"}}]}}'
    )


def kraken_v2_prints(market: Market, kind: str, prints: list[Print], now: int) -> str:
    items = ",".join(
        f'{{"symbol":"{market.symbol}","side":"{side}","price":{market.price(price)},"qty":{market.size(size)},'
        f'"ord_type":"market","trade_id":{market.prints},"timestamp":"{rfc3339(now)}"}}'
        for side, price, size in prints
    )
    return f'{{"channel":"trade","type":"{kind}","data":[{items}]}}'


def kraken_v2_ticker(market: Market, now: int) -> str:
    bid, ask = market.best("bid"), market.best("ask")
    return (
        f'{{"channel":"ticker","type":"update","data":[{{"symbol":"{market.symbol}","bid":{market.price(bid)},'
        f'"bid_qty":{market.size(market.sides["bid"][bid])},"ask":{market.price(ask)},'
        f'"ask_qty":{market.size(market.sides["ask"][ask])},"last":{market.price(bid)},"timestamp":"{rfc3339(now)}"}}]}}'
    )


V1_PAIRS = {"BTC/USD": "XBT/USD", "DOGE/USD": "XDG/USD"}


def kraken_v1_frames(steps: int, depth: int = 10) -> list[Line]:
    """Return a connection of Kraken v1: events, snapshots, then what happens."""
    every = markets()
    lines = [line(START_NS, '{"connectionID":8628615390848610000,"event":"systemStatus","status":"online"}')]
    views = []
    set_at: dict[tuple[str, str, int], int] = {}
    for number, market in enumerate(every):
        pair = V1_PAIRS[market.symbol]
        event = {"channelID": number, "channelName": f"book-{depth}", "event": "subscriptionStatus", "pair": pair}
        lines.append(line(START_NS, json.dumps({**event, "status": "subscribed"})))
        lines.append(line(START_NS, kraken_v1_snapshot(number, pair, texts_of(market, depth), depth, START_NS)))
        old = [
            [market.price(market.middle), "0.50000000", _epoch(START_NS - i * 10**9), "b", "l", ""] for i in range(9)
        ]
        lines.append(line(START_NS, json.dumps([number, old[::-1], "trade", pair])))
        views.append(View(market, depth))
    choose = random.Random(4)
    for count, now in enumerate(clock(steps)):
        number, (market, view) = choose.choice(list(enumerate(zip(every, views, strict=True))))
        pair = V1_PAIRS[market.symbol]
        changed, printed = market.step()
        set_at |= {(pair, side, price): now for side, price, _ in changed}
        if told := view.told(changed):
            stamps = [_epoch(set_at.get((pair, side, price), START_NS)) for side, price, _, _ in told]
            lines.append(line(now, kraken_v1_update(number, pair, market, told, depth, stamps)))
        if printed is not None:
            side, price, size = printed
            row = [market.price(price), market.size(size), _epoch(now), side[0], "m", ""]
            lines.append(line(now, json.dumps([number, [row], "trade", pair])))
        if count % 20 == 19:
            lines.append(line(now, '{"event":"heartbeat"}'))
            top = [market.price(market.best("bid")), market.price(market.best("ask")), _epoch(now), "1.0", "2.0"]
            lines.append(line(now, json.dumps([number, top, "spread", pair])))
            ticker = {"a": [top[1], 1, "1.000"], "b": [top[0], 2, "2.000"], "c": [top[0], "1.0"]}
            lines.append(line(now, json.dumps([number, ticker, "ticker", pair])))
    return lines


def _epoch(ns: int) -> str:
    return f"{ns // 10**9}.{ns % 10**9 // 1_000:06d}"


def kraken_v1_snapshot(number: int, pair: str, texts: dict[str, list[tuple[str, str]]], depth: int, now: int) -> str:
    sides = {key: [[*level, _epoch(now)] for level in texts[side]] for key, side in (("as", "ask"), ("bs", "bid"))}
    return json.dumps([number, sides, f"book-{depth}", pair], separators=(",", ":"))


def kraken_v1_update(
    number: int, pair: str, market: Market, told: list[tuple[str, int, int, bool]], depth: int, stamps: list[str]
) -> str:
    """Return one object where one side changed, two where both did; the checksum is in the last."""
    parts: list[dict[str, object]] = []
    for key, side in (("a", "ask"), ("b", "bid")):
        rows = [
            [market.price(price), market.size(size), stamp, *(["r"] if again else [])]
            for (of, price, size, again), stamp in zip(told, stamps, strict=True)
            if of == side
        ]
        if rows:
            parts.append({key: rows})
    parts[-1]["c"] = str(kraken_checksum(market, texts_of(market, depth)))
    return json.dumps([number, *parts, f"book-{depth}", pair], separators=(",", ":"))


# --- Coinbase Advanced Trade


def advanced_frames(steps: int) -> list[Line]:
    """Return a connection of Advanced Trade; the numbers are set as frames are sent."""
    every = markets()
    lines = []
    for market in every:
        product = market.symbol.replace("/", "-")
        changes = [(side, price, size) for side in ("bid", "ask") for price, size in market.ordered(side, 1_000)]
        lines.append(line(START_NS, advanced_books(market, product, "snapshot", changes, START_NS)))
        lines.append(line(START_NS, advanced("subscriptions", START_NS, '[{"subscriptions":{"level2":["BTC-USD"]}}]')))
        old = f"[{_advanced_print(market, product, ('buy', market.middle, 5), START_NS)}]"
        lines.append(line(START_NS, advanced("market_trades", START_NS, f'[{{"type":"snapshot","trades":{old}}}]')))
    choose = random.Random(5)
    for count, now in enumerate(clock(steps)):
        market = choose.choice(every)
        product = market.symbol.replace("/", "-")
        changed, printed = market.step()
        lines.append(line(now, advanced_books(market, product, "update", changed, now)))
        if printed is not None:
            rows = f"[{_advanced_print(market, product, printed, now)}]"
            lines.append(line(now, advanced("market_trades", now, f'[{{"type":"update","trades":{rows}}}]')))
            ticker = (
                f'{{"type":"ticker","product_id":"{product}","price":"1","best_bid":"{market.price(market.best("bid"))}",'
                f'"best_ask":"{market.price(market.best("ask"))}"}}'
            )
            lines.append(line(now, advanced("ticker", now, f'[{{"type":"update","tickers":[{ticker}]}}]')))
        if count % 20 == 19:
            beat = f'[{{"current_time":"{rfc3339(now)}","heartbeat_counter":{count}}}]'
            lines.append(line(now, advanced("heartbeats", now, beat)))
    return lines


def advanced(channel: str, now: int, events: str) -> str:
    return (
        f'{{"channel":"{channel}","client_id":"","timestamp":"{rfc3339(now, 9)}","sequence_num":0,"events":{events}}}'
    )


def advanced_books(market: Market, product: str, kind: str, changes: Changed, now: int) -> str:
    rows = ",".join(
        f'{{"side":"{"bid" if side == "bid" else "offer"}","event_time":"1970-01-01T00:00:00Z",'
        f'"price_level":"{market.price(price)}","new_quantity":"{market.size(size)}"}}'
        for side, price, size in changes
    )
    return advanced("l2_data", now, f'[{{"type":"{kind}","product_id":"{product}","updates":[{rows}]}}]')


def _advanced_print(market: Market, product: str, printed: Print, now: int) -> str:
    taker, price, size = printed
    return (
        f'{{"trade_id":"{market.prints}","product_id":"{product}","price":"{market.price(price)}",'
        f'"size":"{market.size(size)}","side":"{"SELL" if taker == "buy" else "BUY"}","time":"{rfc3339(now)}"}}'
    )


# --- Alpaca


def alpaca_frames(steps: int) -> list[Line]:
    """Return a connection of Alpaca's stock stream, in JSON: quotes and trades of two stocks."""
    lines = [
        line(START_NS, '[{"T":"success","msg":"connected"}]'),
        line(START_NS, '[{"T":"success","msg":"authenticated"}]'),
        line(START_NS, '[{"T":"subscription","trades":["AAPL","MSFT"],"quotes":["AAPL","MSFT"],"bars":[]}]'),
    ]
    choose = random.Random(6)
    number = 52_983_525_000_000
    cents = {"AAPL": 18_950, "MSFT": 37_010}
    for now in clock(steps):
        stock = choose.choice(list(cents))
        cents[stock] += choose.choice((-1, 0, 1))
        bid, ask = cents[stock] / 100, (cents[stock] + choose.randint(1, 3)) / 100
        quote = {"T": "q", "S": stock, "bx": "V", "bp": bid, "bs": choose.randint(1, 9), "ax": "V", "ap": ask}
        items: list[dict[str, object]] = [
            {**quote, "as": choose.randint(1, 9), "c": ["R"], "z": "C", "t": rfc3339(now, 9)}
        ]
        if choose.random() < 0.3:
            number += 1
            trade = {"T": "t", "S": stock, "i": number, "x": "V", "p": ask, "s": choose.randint(1, 300), "c": ["@"]}
            items.append({**trade, "z": "C", "t": rfc3339(now, 9)})
        lines.append(line(now, json.dumps(items)))
    return lines
