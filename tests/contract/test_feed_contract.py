"""The feed contract finds what it promises to find: feeds that are broken on purpose fail it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.contract import toy_venue
from tests.contract.feed_cases import CASES, poisoned, recorded_lines, through
from tests.contract.toy_venue import Book, Pair, PrintData, ToyFeed, toy

from edgefleet.messages import Trade
from edgefleet.stage import Output
from edgefleet.testing import feed_contract as contract
from edgefleet.testing.feed_contract import Check
from edgefleet.testing.feed_harness import KINDS, FeedCase
from edgefleet.venues.coinbase.advanced_feed import CoinbaseAdvancedFeed
from edgefleet.venues.dialect import FeedOptions
from edgefleet.venues.feed import Aggressor, Feed
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


class SwapsSides(KrakenFeed):
    def trade(self, followed: KrakenBook, trade_id: str, price: Decimal, quantity: Decimal, *args: Any) -> None:
        aggressor, *rest = args
        swapped: Aggressor = "sell" if aggressor == "buy" else "buy"
        super().trade(followed, trade_id, price, quantity, swapped, *rest)


class StampsInTheWrongUnit(KrakenFeed):
    def trade(self, followed: KrakenBook, trade_id: str, price: Decimal, quantity: Decimal, *args: Any) -> None:
        aggressor, ts_event, *rest = args
        super().trade(followed, trade_id, price, quantity, aggressor, ts_event // 1_000, *rest)


class RepeatsPrints(KrakenFeed):
    def is_new_print(self, followed: KrakenBook, trade_id: int, *, consecutive: bool = True) -> bool:
        super().is_new_print(followed, trade_id, consecutive=consecutive)
        return True


class MissesPrintsInSilence(KrakenFeed):
    def is_new_print(self, followed: KrakenBook, trade_id: int, *, consecutive: bool = True) -> bool:
        return super().is_new_print(followed, trade_id, consecutive=False)


class LeavesPrintsOut(KrakenFeed):
    def is_new_print(self, followed: KrakenBook, trade_id: int, *, consecutive: bool = True) -> bool:
        return super().is_new_print(followed, trade_id, consecutive=consecutive) and trade_id % 7 != 0


class BelievesAnyPrint(ToyFeed):
    def on_print(self, followed: Pair, data: PrintData, *args: Any) -> None:
        *_, ts_init, out = args
        self.trade(followed, str(data.id), data.price, data.size, data.taker, data.at * 1_000, ts_init, out)


class AsksBeforeTheFirstChange(ToyFeed):
    @property
    def awaiting(self) -> tuple[str, ...]:
        return tuple(one.instrument for one in self._followed.values() if not one.synced)

    def is_too_old(self, followed: Pair, book: Book) -> bool:
        return False


class TakesABookOfBefore(ToyFeed):
    @property
    def awaiting(self) -> tuple[str, ...]:
        return tuple(one.instrument for one in self._followed.values() if not one.synced)

    def is_too_old(self, followed: Pair, book: Book) -> bool:
        return not followed.pending


class ForgetsWhatCameBeforeTheBook(ToyFeed):
    def load_book(self, followed: Pair, *args: Any) -> None:
        super().load_book(followed, *args)
        followed.begun_at += 10**9


MUTATED = contract.mutated_frames_give_the_venues_book_or_none
BROKEN: list[tuple[str, Callable[..., Feed], Check]] = [
    ("kraken", TrustsChecksums, MUTATED),
    ("kraken", NeverCuts, contract.untouched_frames_give_the_venues_book_at_each),
    ("kraken", RaisesOnJunk, contract.junk_is_counted_and_changes_no_market),
    ("kraken", InventsAPrice, contract.every_message_encodes_and_is_stamped_in_order),
    ("kraken", ForgetsWhereItWas, contract.marks_resume_the_prints),
    ("kraken", SwapsSides, contract.prints_are_the_venues),
    ("kraken", StampsInTheWrongUnit, contract.prints_are_the_venues),
    ("kraken", LeavesPrintsOut, contract.prints_are_the_venues),
    ("kraken", RepeatsPrints, contract.mutated_frames_give_the_venues_prints),
    ("kraken", MissesPrintsInSilence, contract.mutated_frames_give_the_venues_prints),
    ("toy", BelievesAnyPrint, contract.numbers_that_cannot_be_never_leave),
    ("toy", AsksBeforeTheFirstChange, contract.a_rest_book_is_of_the_frames_that_came_after_it),
    ("toy", TakesABookOfBefore, contract.a_rest_book_is_of_the_frames_that_came_after_it),
    ("toy", ForgetsWhatCameBeforeTheBook, contract.a_rest_book_is_of_the_frames_that_came_after_it),
    ("coinbase_advanced", CountsNothing, MUTATED),
    ("coinbase_advanced", NeverAsksAgain, contract.each_kind_of_fault_is_seen_and_mended),
    ("coinbase_advanced", KeepsBooksOverABreak, contract.a_new_connection_begins_every_book_anew),
]


def with_feed(name: str, broken: Callable[..., Feed]) -> FeedCase:
    case = toy() if name == "toy" else CASES[name](Path())

    def make(venue: str, symbols: Sequence[str], options: FeedOptions, /) -> Feed:
        return broken(venue, symbols, touch_interval_ms=options.touch_interval_ms)

    return replace(case, lines=case.lines[:200], dialect=replace(case.dialect, feed=make))


@pytest.mark.parametrize(("name", "broken", "check"), BROKEN, ids=[broken.__name__ for _, broken, _ in BROKEN])
def test_a_broken_feed_does_not_keep_the_contract(name: str, broken: Callable[..., Feed], check: Check) -> None:
    with pytest.raises((AssertionError, msgspec.MsgspecError, UnicodeDecodeError)):
        check(with_feed(name, broken))


@pytest.mark.parametrize(
    ("name", "whole"), [("kraken", KrakenFeed), ("coinbase_advanced", CoinbaseAdvancedFeed), ("toy", ToyFeed)]
)
def test_the_same_feeds_unbroken_keep_it(name: str, whole: Callable[..., Feed]) -> None:
    for check in contract.CHECKS if name == "toy" else {check for _, _, check in BROKEN}:
        check(with_feed(name, whole))


class AsksInItsOwnWords(CoinbaseAdvancedFeed):
    def book_requests(self, names: Sequence[str]) -> list[str]:
        return [f'{{"sub":"depth_{name}"}}' for name in names]


def test_a_case_says_how_its_venue_is_asked_for_a_book() -> None:
    case = with_feed("coinbase_advanced", AsksInItsOwnWords)

    with pytest.raises(AssertionError, match="never came back"):
        contract.each_kind_of_fault_is_seen_and_mended(case)
    told = replace(case, asks_for_book=lambda text, name: text == f'{{"sub":"depth_{name}"}}')
    contract.each_kind_of_fault_is_seen_and_mended(told)


@pytest.mark.parametrize(
    ("name", "left_empty", "told"),
    [
        ("toy", {"poison": poisoned(toy_venue.read, "<{}>")}, "poison changes no frame"),
        ("toy", {"poison_print": lambda body, text: []}, "poison_print changes no frame"),
        ("toy", {"absurd_price": through(toy_venue.read, "<{}>")}, "absurd_price changes no frame"),
        ("kraken", {"wrong_checksum": lambda body: body}, "wrong_checksum changes no frame"),
        ("toy", {"blind": dict.fromkeys(("drop", "duplicate", "reorder", "truncate", "absurd"), "")}, "every kind of"),
        ("kraken", {"blind": dict.fromkeys(KINDS, "")}, "every kind of fault is in blind"),
        ("toy", {"read": lambda body, book_of: ()}, "read reads no book of"),
        ("toy", {"read_prints": lambda body: ()}, "read_prints reads no print"),
        ("toy", {"snapshot": None}, "without snapshot"),
        ("toy", {"books": False}, "the case has no books"),
    ],
)
def test_a_case_that_leaves_a_check_nothing_to_look_at_is_refused(
    name: str, left_empty: dict[str, Any], told: str
) -> None:
    case = toy() if name == "toy" else CASES[name](Path())
    contract.every_check_has_something_to_look_at(case)

    with pytest.raises(AssertionError, match=told):
        contract.every_check_has_something_to_look_at(replace(case, **left_empty))


def test_frames_of_another_venue_are_no_books_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(b"".join(b"%d %b\n" % (line.stamp_ns, line.body) for line in CASES["kraken"](Path()).lines))

    lines = list(recorded_lines(path, CASES["kraken"](Path()).dialect))

    assert [line.book_of for line in lines] == [None] * len(CASES["kraken"](Path()).lines)


def test_a_book_without_its_address_needs_its_name(tmp_path: Path) -> None:
    path = tmp_path / "tape"
    path.write_bytes(b'1700000000000000000 {"lastUpdateId":1,"bids":[],"asks":[]}\n')

    with pytest.raises(AssertionError, match="does not say whose book"):
        list(recorded_lines(path, toy_venue.DIALECT))
    (line,) = recorded_lines(path, toy_venue.DIALECT, only="btcusd")
    assert line.book_of == "btcusd"
