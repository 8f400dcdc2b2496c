"""Messages on the wire: what was written yesterday is read today, and nothing that is not finite gets in."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import edgefleet
from edgefleet.errors import Poison
from edgefleet.messages import MESSAGE_TYPES, ModelEdge, Quote, Signals, Trade, decode, encode, tag_of
from edgefleet.messages.asyncapi import document
from edgefleet.messages.streams import STREAMS

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "messages"
DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference"


def _signals(edge: float) -> Signals:
    return Signals(
        instrument="BTC/USDT@sim",
        edges=(ModelEdge(model="ob_pressure", version="1", edge_bps=edge, confidence=0.5, horizon_ms=10_000),),
        mid=61_672.5,
        features="0" * 16,
        watermark=1,
        ts_event=1,
        ts_init=1,
        trace_id="sim:BTCUSDT:1",
        cause="market/1-0",
        config="0" * 64,
    )


@pytest.mark.parametrize("tag", sorted(MESSAGE_TYPES))
def test_golden_entry_decodes_to_its_type_and_encodes_to_the_same_bytes(tag: str) -> None:
    written = (GOLDEN / f"{tag}.json").read_bytes().strip()

    message = decode(tag, written)

    assert type(message) is MESSAGE_TYPES[tag]
    assert tag_of(message) == tag
    assert encode(message) == written


def test_every_golden_file_belongs_to_a_message() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(MESSAGE_TYPES)


@pytest.mark.parametrize("tag", sorted(MESSAGE_TYPES))
def test_field_of_a_newer_writer_is_ignored(tag: str) -> None:
    written = (GOLDEN / f"{tag}.json").read_bytes().strip()
    newer = written[:-1] + b',"added_in_a_later_version":[1,{"a":null}]}'

    assert decode(tag, newer) == decode(tag, written)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_number_that_is_not_finite_never_enters_a_stream(value: float) -> None:
    with pytest.raises(ValueError, match=r"edges.edge_bps must be finite"):
        encode(_signals(value))


@pytest.mark.parametrize("field", ["limit", "observed", "edge_bps"])
@pytest.mark.parametrize("detail", ["", "null", "nullnull"])
def test_no_absence_and_no_text_hides_a_number_that_is_not_finite(field: str, detail: str) -> None:
    plain = msgspec.structs.replace(decode("refused.v1", (GOLDEN / "refused.v1.json").read_bytes()), detail=detail)
    absent = msgspec.structs.replace(plain, limit=None, observed=None, edge_bps=None, input=None, target_id=None)

    for message in (plain, absent):
        assert decode("refused.v1", encode(message)) == message
        with pytest.raises(ValueError, match=f"{field} must be finite"):
            encode(msgspec.structs.replace(message, **{field: float("nan")}))


def test_null_where_a_number_belongs_is_poison() -> None:
    written = encode(_signals(1.0)).replace(b'"edge_bps":1.0', b'"edge_bps":null')

    with pytest.raises(Poison, match=r"signals\.v1 does not decode"):
        decode("signals.v1", written)


def test_unknown_tag_is_poison() -> None:
    with pytest.raises(Poison, match=r"no message has the tag 'tick\.v9'"):
        decode("tick.v9", b"{}")


@given(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**9, places=8),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**9, places=8),
)
def test_money_comes_back_with_every_digit(price: Decimal, quantity: Decimal) -> None:
    trade = Trade(
        instrument="BTC/USDT@sim",
        trade_id="1",
        price=price,
        quantity=quantity,
        aggressor="buy",
        ts_event=1,
        ts_init=2,
        trace_id="t",
    )

    again = decode("trade.v1", encode(trade))

    assert again == trade
    assert isinstance(again, Trade)
    assert str(again.price) == str(price)


def test_message_cannot_be_changed_after_it_was_made() -> None:
    with pytest.raises(AttributeError):
        _signals(1.0).mid = 2.0  # type: ignore[misc]


def test_every_message_flows_in_a_stream() -> None:
    flowing: set[type[Any]] = {kind for card in STREAMS for kind in card.messages}

    assert flowing == set(MESSAGE_TYPES.values())


def test_reference_document_is_what_the_messages_say() -> None:
    written = yaml.safe_load((DOCS / "asyncapi.yml").read_text())

    assert written == document(edgefleet.__version__), "run python scripts/reference.py"


def test_decoder_reads_an_entry_as_redis_cli_shows_it() -> None:
    shown = '{"type":"quote.v1","instrument":"BTC/USDT@sim","bid":"1.5","bid_size":"2","ask":"1.6","ask_size":"3",'
    shown += '"update_id":7,"ts_event":1,"ts_init":1,"trace_id":"t"}'

    quote = decode("quote.v1", shown.encode())

    assert isinstance(quote, Quote)
    assert quote.ask == Decimal("1.6")
    assert msgspec.json.decode(encode(quote)) == msgspec.json.decode(shown)
