"""Which gateway a command goes to, and what a commit asks where orders of several accounts are in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.rig import written

from edgefleet.bus.interface import Clearance, Permit
from edgefleet.errors import Misuse
from edgefleet.gateway.gateway import Gateway, Written
from edgefleet.messages import OrderState
from edgefleet.testing import build
from edgefleet_services.executor.service import Gateways, refuse_old_journal


class Hand:
    """A gateway that only notes what it is given; it asks for a permit as a real one does, for new orders alone."""

    def __init__(self, venue: str) -> None:
        self.permit = Permit(f"main@{venue}", "token")
        self.prepared: list[Written] = []
        self.offered: list[tuple[Written, Clearance | None]] = []

    def prepare(self, commands: Sequence[Written]) -> Permit | None:
        self.prepared += commands
        return self.permit if any(one.event.state is OrderState.PENDING_NEW for one in commands) else None

    def offer(self, commands: Sequence[Written], clearance: Clearance | None = None) -> None:
        self.offered += [(one, clearance) for one in commands]


def hands(*venues: str) -> tuple[Gateways, dict[str, Hand]]:
    made = {venue: Hand(venue) for venue in venues}
    return Gateways({venue: cast("Gateway", hand) for venue, hand in made.items()}), made


def command(venue: str, order_id: str = "ef1", state: OrderState = OrderState.PENDING_NEW) -> Written:
    return written(build.order_event(instrument=f"BTC/USDT@{venue}", order_id=order_id, state=state))


def cancel(venue: str, order_id: str = "ef9") -> Written:
    return command(venue, order_id, OrderState.PENDING_CANCEL)


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(["sim", "okx", "alpaca", "kraken"]),
        st.sampled_from([OrderState.PENDING_NEW, OrderState.PENDING_CANCEL, OrderState.FILLED]),
    ),
    max_size=12,
)


@given(COMMANDS)
def test_every_command_goes_to_one_gateway_in_the_order_in_which_it_was_decided(
    told: list[tuple[str, OrderState]],
) -> None:
    gateways, at = hands("sim", "okx", "alpaca")
    commands = [command(venue, f"ef{number}", state) for number, (venue, state) in enumerate(told)]

    gateways.prepare(commands)
    gateways.offer(commands, Clearance.ALL)

    home = {"kraken": "sim"}  # which has no gateway
    for venue, hand in at.items():
        own = [one for one, (where, _) in zip(commands, told, strict=True) if home.get(where, where) == venue]
        assert hand.prepared == own
        assert hand.offered == [(one, Clearance.ALL) for one in own]


@given(COMMANDS)
def test_a_commit_asks_for_an_account_where_its_new_orders_are_of_that_one_alone(
    told: list[tuple[str, OrderState]],
) -> None:
    gateways, at = hands("sim", "okx", "alpaca")
    commands = [command(venue, f"ef{number}", state) for number, (venue, state) in enumerate(told)]

    permit = gateways.prepare(commands)

    asked = {("sim" if venue == "kraken" else venue) for venue, state in told if state is OrderState.PENDING_NEW}
    assert permit == (at[asked.pop()].permit if len(asked) == 1 else None)


def test_new_orders_of_two_venues_are_written_at_both_and_ask_for_no_permit_at_all() -> None:
    gateways, at = hands("sim", "okx")
    first, second = command("sim", "ef1"), command("okx", "ef2")

    permit = gateways.prepare([first, second])

    assert permit is None
    assert (at["sim"].prepared, at["okx"].prepared) == ([first], [second])


@pytest.mark.parametrize("venue", ["sim", "okx"])
def test_new_orders_of_one_venue_ask_for_that_one_s_account(venue: str) -> None:
    gateways, _ = hands("sim", "okx")

    permit = gateways.prepare([command(venue, "ef1"), command(venue, "ef2")])

    assert permit == Permit(f"main@{venue}", "token")


def test_a_cancel_at_another_venue_does_not_keep_a_new_order_from_its_permit() -> None:
    gateways, _ = hands("sim", "okx")

    permit = gateways.prepare([cancel("sim"), command("okx")])

    assert permit == Permit("main@okx", "token")


def test_cancels_alone_ask_for_nothing() -> None:
    gateways, _ = hands("sim", "okx")

    assert gateways.prepare([cancel("sim"), cancel("okx", "ef8")]) is None


@pytest.mark.parametrize("first", ["sim", "okx"])
def test_an_instrument_at_a_venue_without_a_gateway_is_the_first_one_s_to_refuse(first: str) -> None:
    gateways, at = hands(*sorted(("sim", "okx"), key=lambda venue: venue != first))
    lost = command("kraken")

    permit = gateways.prepare([lost])
    gateways.offer([lost], None)

    assert permit == at[first].permit
    assert {venue: len(hand.offered) for venue, hand in at.items()} == {"sim": 0, "okx": 0, first: 1}


def test_the_only_gateway_gets_everything_at_once() -> None:
    gateways, at = hands("sim")
    commands = [command("sim"), cancel("kraken")]

    permit = gateways.prepare(commands)
    gateways.offer(commands, Clearance.REDUCING)

    assert permit == at["sim"].permit
    assert at["sim"].prepared == commands
    assert at["sim"].offered == [(one, Clearance.REDUCING) for one in commands]


def test_a_gateway_without_a_command_is_not_asked() -> None:
    gateways, at = hands("sim", "okx")

    gateways.offer([command("okx")], None)

    assert [len(hand.offered) for hand in at.values()] == [0, 1]
    assert [id(gateway) for gateway in gateways.all] == [id(hand) for hand in at.values()]


# --- the journal of an earlier version


def test_journal_of_an_earlier_version_is_refused_with_the_name_it_would_have_now(tmp_path: Path) -> None:
    old = tmp_path / "intents.jsonl"
    old.write_bytes(b"")

    with pytest.raises(Misuse, match=rf"{old} is the journal .* orders are of okx, rename it to okx\.jsonl$"):
        refuse_old_journal(tmp_path, "okx")
    assert old.exists()


def test_journals_of_venues_are_no_old_ones(tmp_path: Path) -> None:
    (tmp_path / "sim.jsonl").write_bytes(b"")

    refuse_old_journal(tmp_path, "sim")
    refuse_old_journal(tmp_path / "not there yet", "sim")
