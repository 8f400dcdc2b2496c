"""The feed contract finds what it promises to find: feeds that are broken on purpose fail it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.contract.feed_cases import CASES

from edgefleet.messages import Trade
from edgefleet.stage import Output
from edgefleet.testing import feed_contract as contract
from edgefleet.testing.feed_contract import Check
from edgefleet.testing.feed_harness import FeedCase
from edgefleet.venues.coinbase.advanced_feed import CoinbaseAdvancedFeed
from edgefleet.venues.dialect import FeedOptions
from edgefleet.venues.feed import Feed
from edgefleet.venues.kraken.books import KrakenBook
from edgefleet.venues.kraken.feed import KrakenFeed
from edgefleet.venues.kraken.ladder import Ladder


class TrustsChecksums(KrakenFeed):
    def _agrees(self, followed: KrakenBook, ladder: Ladder, checksum: int | None) -> bool:
        return True


class NeverCuts(KrakenFeed):
    def _depth_of(self, followed: KrakenBook, levels: int) -> int:
        return 1_000


class CountsNothing(CoinbaseAdvancedFeed):
    def _is_next(self, number: int, stamp_ns: int, ts_init: int, out: list[Output]) -> bool:
        return True


class NeverAsksAgain(CoinbaseAdvancedFeed):
    def book_requests(self, names: Sequence[str]) -> list[str]:
        return []


class KeepsBooksOverABreak(CoinbaseAdvancedFeed):
    def on_disconnect(self, reason: str, ts_init: int) -> list[Output]:
        out: list[Output] = []
        self.status("disconnected", reason, ts_init, out)
        self._sequence = None
        self._reconnected = True
        return out


class RaisesOnJunk(KrakenFeed):
    def take(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        msgspec.json.decode(raw)
        super().take(stamp_ns, raw, ts_init, out)


class InventsAPrice(KrakenFeed):
    def trade(self, followed: KrakenBook, trade_id: str, price: Decimal, *args: Any) -> None:
        super().trade(followed, trade_id, price, *args)
        out = args[-1]
        assert isinstance(out, list)
        message = out[-1].message
        assert isinstance(message, Trade)
        out[-1] = Output("market", msgspec.structs.replace(message, price=Decimal("NaN")))


class ForgetsWhereItWas(KrakenFeed):
    def resume(self, marks: str) -> None:
        super().resume("1")


MUTATED = contract.mutated_frames_give_the_venues_book_or_none
BROKEN: list[tuple[str, Callable[..., Feed], Check]] = [
    ("kraken", TrustsChecksums, MUTATED),
    ("kraken", NeverCuts, contract.untouched_frames_give_the_venues_book_at_each),
    ("kraken", RaisesOnJunk, contract.junk_is_counted_and_changes_no_market),
    ("kraken", InventsAPrice, contract.every_message_encodes_and_is_stamped_in_order),
    ("kraken", ForgetsWhereItWas, contract.marks_resume_the_prints),
    ("coinbase_advanced", CountsNothing, MUTATED),
    ("coinbase_advanced", NeverAsksAgain, contract.each_kind_of_fault_is_seen_and_mended),
    ("coinbase_advanced", KeepsBooksOverABreak, contract.a_new_connection_begins_every_book_anew),
]


def with_feed(name: str, broken: Callable[..., Feed]) -> FeedCase:
    case = CASES[name](Path())

    def make(venue: str, symbols: Sequence[str], options: FeedOptions, /) -> Feed:
        return broken(venue, symbols, touch_interval_ms=options.touch_interval_ms)

    return replace(case, lines=case.lines[:200], dialect=replace(case.dialect, feed=make))


@pytest.mark.parametrize(("name", "broken", "check"), BROKEN, ids=[broken.__name__ for _, broken, _ in BROKEN])
def test_a_broken_feed_does_not_keep_the_contract(name: str, broken: Callable[..., Feed], check: Check) -> None:
    with pytest.raises((AssertionError, msgspec.MsgspecError, UnicodeDecodeError)):
        check(with_feed(name, broken))


@pytest.mark.parametrize(("name", "whole"), [("kraken", KrakenFeed), ("coinbase_advanced", CoinbaseAdvancedFeed)])
def test_the_same_feeds_unbroken_keep_it(name: str, whole: Callable[..., Feed]) -> None:
    for check in {check for _, _, check in BROKEN}:
        check(with_feed(name, whole))
