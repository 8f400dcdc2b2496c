"""What applies at once, what waits, and that no limit is ever looser than it was before it was confirmed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from edgefleet.params.directions import Body, loosened, tightened
from edgefleet.params.faults import InvalidConfig
from edgefleet.params.schema import FleetConfig, Params
from edgefleet.params.versions import FleetState, Stamp, Written, are_confirmed, current, promote, propose, withdraw

STAMP = Stamp("operator", "test", 1)
RISK = "risk_harmonizer"


class _Inner(Params):
    limit: float = Field(1.0, json_schema_extra={"tighter": "lower"})
    floor: Decimal | None = Field(None, json_schema_extra={"tighter": "higher"})


class _Outer(Params):
    inner: _Inner = _Inner()
    by_name: dict[str, _Inner] = Field(default_factory=dict)
    caps: dict[str, float] = Field(default_factory=dict, json_schema_extra={"tighter": "lower", "absent": "tightest"})
    speed: int = 1
    class_: float = Field(1.0, alias="class", json_schema_extra={"tighter": "lower"})


@pytest.mark.parametrize(
    ("before", "after", "looser"),
    [
        ({"inner": {"limit": 1}}, {"inner": {"limit": 2}}, [("inner", "limit")]),
        ({"inner": {"limit": 2}}, {"inner": {"limit": 1}}, []),
        ({"inner": {"limit": 2}}, {"inner": {"limit": None}}, [("inner", "limit")]),
        ({"inner": {"floor": "2"}}, {"inner": {"floor": "1"}}, [("inner", "floor")]),
        ({"inner": {"floor": None}}, {"inner": {"floor": "1"}}, []),
        ({"by_name": {"a": {"limit": 1}}}, {"by_name": {"a": {"limit": 3}}}, [("by_name", "a", "limit")]),
        ({"caps": {}}, {"caps": {"crypto": 0.1}}, [("caps", "crypto")]),
        ({"caps": {"crypto": 0.1}}, {"caps": {}}, []),
        ({"speed": 1}, {"speed": 9}, []),
        ({"class": 1}, {"class": 2}, [("class",)]),
    ],
)
def test_looser_is_what_allows_more(before: Body, after: Body, looser: list[tuple[str, ...]]) -> None:
    assert list(loosened(_Outer, before, after)) == looser


numbers = st.floats(0, 10)
bodies = st.fixed_dictionaries(
    {
        "inner": st.fixed_dictionaries({"limit": numbers, "floor": st.none() | numbers.map(str)}),
        "by_name": st.dictionaries(st.sampled_from("abc"), st.fixed_dictionaries({"limit": numbers})),
        "caps": st.dictionaries(st.sampled_from("abc"), numbers),
        "speed": st.integers(0, 5),
        "class": numbers,
    }
)


@given(bodies, bodies)
def test_the_tightened_part_allows_no_more_than_before_and_no_more_than_wanted(before: Body, after: Body) -> None:
    at_once = tightened(_Outer, before, after)

    assert not loosened(_Outer, before, at_once)
    assert not loosened(_Outer, after, at_once)
    assert at_once["speed"] == after["speed"]


@given(bodies)
def test_no_change_is_no_loosening(body: Body) -> None:
    assert not loosened(_Outer, body, body)
    assert tightened(_Outer, body, body) == body


def _started() -> FleetState:
    bodies: dict[str, Body] = FleetConfig().model_dump(mode="json")
    return propose(FleetState(), bodies, STAMP, may_loosen=False).state


def _risk(state: FleetState, **changes: float) -> Body:
    body: Body = FleetConfig.model_validate(state.bodies()).model_dump(mode="json")[RISK]
    for key, value in changes.items():
        block = "risk_limits" if key == "max_drawdown" else "position_sizing"
        body[block][key] = value
    return body


def _propose(state: FleetState, *, may_loosen: bool = False, **changes: float) -> Written:
    return propose(state, {RISK: _risk(state, **changes)}, STAMP, may_loosen=may_loosen)


def _drawdown(state: FleetState) -> object:
    return state.components[RISK].body["risk_limits"]["max_drawdown"]


def test_a_first_body_is_version_one_and_effective() -> None:
    state = _started()

    assert set(state.versions.values()) == {1}
    assert not state.waiting


def test_a_tightening_is_in_force_at_once() -> None:
    written = _propose(_started(), max_drawdown=0.04)

    assert _drawdown(written.state) == 0.04
    assert [(v.version, v.effective) for v in written.history] == [(2, True)]


def test_a_loosening_waits_and_what_tightens_beside_it_does_not() -> None:
    written = _propose(_started(), max_drawdown=0.09, kelly_fraction=0.1)

    component = written.state.components[RISK]
    assert _drawdown(written.state) == 0.05
    assert component.body["position_sizing"]["kelly_fraction"] == 0.1
    assert written.state.waiting == {RISK: 2}
    assert [(v.version, v.effective) for v in written.history] == [(2, False)]


def test_what_waited_is_in_force_once_confirmed_as_a_version_of_its_own() -> None:
    state = _propose(_started(), max_drawdown=0.09).state

    written = promote(state, STAMP)

    assert _drawdown(written.state) == 0.09
    assert not written.state.waiting
    assert [(v.version, v.effective) for v in written.history] == [(3, True)]
    assert written.history[0].config == current(written.state).hash


def test_with_nobody_to_confirm_a_loosening_is_in_force_at_once() -> None:
    assert _drawdown(_propose(_started(), may_loosen=True, max_drawdown=0.09).state) == 0.09


def test_going_back_while_a_loosening_waits_withdraws_it() -> None:
    state = _propose(_started(), max_drawdown=0.09).state

    after = _propose(state, max_drawdown=0.05).state

    assert not after.waiting
    assert _drawdown(after) == 0.05


def test_withdrawing_keeps_what_is_in_force() -> None:
    state = _propose(_started(), max_drawdown=0.09).state

    written = withdraw(state, STAMP)

    assert not written.state.waiting
    assert _drawdown(written.state) == 0.05


def test_the_same_body_again_is_no_version() -> None:
    state = _started()

    written = propose(state, {RISK: _risk(state)}, STAMP, may_loosen=True)

    assert written.history == ()
    assert written.state.versions == state.versions
    assert written.state.n == state.n + 1


def test_where_the_tightened_part_contradicts_itself_all_of_it_waits() -> None:
    """drawdown_warning may not be above max_drawdown: 0.04 against a limit that may not yet rise from 0.035."""
    state = _propose(_started(), may_loosen=True, max_drawdown=0.035).state
    body = _risk(state, max_drawdown=0.06)
    body["monitoring"]["alerts"]["drawdown_warning"] = 0.04

    written = propose(state, {RISK: body}, STAMP, may_loosen=False)

    assert written.state.components[RISK].body == state.components[RISK].body
    assert written.state.components[RISK].pending == body


def test_components_that_do_not_go_together_change_nothing() -> None:
    state = _started()

    with pytest.raises(InvalidConfig):
        propose(state, {RISK: _risk(state, kelly_fraction=7)}, STAMP, may_loosen=True)


def test_confirmed_means_every_waiting_version_or_a_later_one() -> None:
    assert are_confirmed({"a": 2, "b": 3}, {"a": 2, "b": 4, "c": 1})
    assert not are_confirmed({"a": 2, "b": 3}, {"a": 2, "b": 2})
    assert not are_confirmed({"a": 2}, {})
