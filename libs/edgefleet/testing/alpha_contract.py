"""What every alpha model promises, as checks to run over the registry or over a model of one's own.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    @pytest.mark.parametrize("model", all_models().values(), ids=lambda model: model.id)
    def test_every_alpha_model(model, check):
        check(model)

A check raises `AssertionError` with what was expected and what was seen.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from edgefleet.alpha.model import AlphaModel
from edgefleet.alpha.stage import AlphaStage
from edgefleet.clock import NS_PER_MS
from edgefleet.messages.market import Bar, Quote, Trade
from edgefleet.messages.signals import ModelEdge, Signals
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input
from edgefleet.testing.clock import START_NS

Model = AlphaModel[Any, Any]
Check = Callable[[Model], None]
_A, _B = "AAA/USDT@sim", "BBB/USDT@sim"
_TICK = Decimal("0.01")
_MIRROR_AROUND = Decimal(200)


def tape(instrument: str, *, seed: int, seconds: int = 90, mirrored: bool = False) -> list[Quote | Trade]:
    """Return quotes and trades of a random walk around 100: four quotes and a print a second.

    `mirrored` reflects prices at 100 and swaps the sides: what pushed up pushes down.
    """
    walk = random.Random(seed)
    mid = 10_000
    events: list[Quote | Trade] = []
    for step in range(4 * seconds):
        mid += walk.choice((-1, 0, 1))
        sizes = Decimal(walk.randint(1, 50)), Decimal(walk.randint(1, 50))
        stamp = START_NS + step * 250 * NS_PER_MS
        stamps: dict[str, Any] = {"ts_event": stamp, "ts_init": stamp, "trace_id": f"sim:{instrument}:{step}"}
        bid, ask = (mid - 1) * _TICK, (mid + 1) * _TICK
        if mirrored:
            bid, ask, sizes = _MIRROR_AROUND - ask, _MIRROR_AROUND - bid, sizes[::-1]
        events.append(
            Quote(
                instrument=instrument,
                bid=bid,
                bid_size=sizes[0],
                ask=ask,
                ask_size=sizes[1],
                update_id=step + 1,
                **stamps,
            )
        )
        if step % 4 == 3:
            buys = (walk.random() < 0.5) is not mirrored
            events.append(
                Trade(
                    instrument=instrument,
                    trade_id=str(step),
                    price=ask if buys else bid,
                    quantity=Decimal(1),
                    aggressor="buy" if buys else "sell",
                    **stamps,
                )
            )
    return events


class Run:
    """One model in an alpha stage of its own, at every event."""

    def __init__(self, model: Model, parameters: dict[str, Any] | None = None) -> None:
        self.stage = AlphaStage([model])
        self.state = self.stage.initial()
        self.config = FleetConfig.model_validate(
            {"features": {"min_interval_ms": 0}, "models": {"models": {model.id: {"parameters": parameters or {}}}}}
        )
        self._count = 0

    def feed(self, events: Iterable[Quote | Trade | Bar]) -> list[Signals]:
        """Return the signals that follow from `events`."""
        found: list[Signals] = []
        for event in events:
            self._count += 1
            entry = Input("market", f"{self._count}-0", event)
            outputs = self.stage.step(self.state, entry, self.config)
            found += [output.message for output in outputs if isinstance(output.message, Signals)]
        return found

    def restart(self) -> None:
        """Save the state and go on from what was saved, with a stage of its own."""
        saved = msgspec.msgpack.encode(self.state)
        self.stage = AlphaStage(list(self.stage.models.values()))
        self.state = msgspec.msgpack.decode(saved, type=self.stage.state_type)
        assert msgspec.msgpack.encode(self.state) == saved, "the state does not survive msgpack unchanged"


def edges(signals: Sequence[Signals]) -> list[tuple[str, ModelEdge]]:
    """Return (instrument, edge) of every signal, in order."""
    return [(signal.instrument, edge) for signal in signals for edge in signal.edges]


def edge_is_finite_and_confidence_a_share(model: Model) -> None:
    """Every edge is a finite number of bps, every confidence is in [0, 1], and something is said at all."""
    said = edges(Run(model).feed(tape(_A, seed=1)))
    assert said, "90 seconds of trading led to no edge"
    for _, edge in said:
        assert math.isfinite(edge.edge_bps), edge
        assert 0.0 <= edge.confidence <= 1.0, edge
        assert edge.horizon_ms > 0, edge


def silent_until_warm(model: Model) -> None:
    """A model that knows no top of book says nothing; one that needs bars says nothing before them."""
    run = Run(model)
    prints = [event for event in tape(_A, seed=1) if isinstance(event, Trade)]
    assert run.feed(prints) == [], "an edge without a quote"
    if model.card.warm_up_bars > 0:
        first = tape(_A, seed=1, seconds=model.card.warm_up_bars - 1)
        said = edges(Run(model).feed(first))
        assert said == [], f"an edge before {model.card.warm_up_bars} closed bars"


def same_tape_same_edges(model: Model) -> None:
    """Two runs over one tape give the same signals, every field of them."""
    events = tape(_A, seed=2)
    assert Run(model).feed(events) == Run(model).feed(events)


def input_is_not_changed(model: Model) -> None:
    """What goes in comes out as it was."""
    events = tape(_A, seed=3)
    before = [msgspec.json.encode(event) for event in events]
    Run(model).feed(events)
    assert [msgspec.json.encode(event) for event in events] == before


def restart_in_the_middle_changes_nothing(model: Model) -> None:
    """Saving the state anywhere and going on from it gives the same signals."""
    events = tape(_A, seed=4)
    expected = Run(model).feed(events)
    for cut in (1, len(events) // 3, len(events) - 1):
        run = Run(model)
        head = run.feed(events[:cut])
        run.restart()
        assert head + run.feed(events[cut:]) == expected, f"a restart after {cut} events"


def other_instruments_change_nothing(model: Model) -> None:
    """An instrument's edges do not depend on what happens between its events elsewhere."""
    ours, theirs = tape(_A, seed=5), tape(_B, seed=6)
    alone = edges(Run(model).feed(ours))
    for mixed in (theirs + ours, _alternating(ours, theirs)):
        together = [pair for pair in edges(Run(model).feed(mixed)) if pair[0] == _A]
        assert together == alone


def mirrored_market_mirrors_the_edge(model: Model) -> None:
    """Where the card claims it: bids for asks and asks for bids turn the edge's sign and nothing else."""
    if not model.card.mirrors:
        return
    straight = edges(Run(model).feed(tape(_A, seed=7)))
    turned = edges(Run(model).feed(tape(_A, seed=7, mirrored=True)))
    assert len(straight) == len(turned)
    for (_, one), (_, other) in zip(straight, turned, strict=True):
        assert math.isclose(one.edge_bps, -other.edge_bps, rel_tol=1e-9, abs_tol=1e-12), (one, other)
        assert math.isclose(one.confidence, other.confidence, rel_tol=1e-9), (one, other)


def backfilled_bars_warm_it_up(model: Model) -> None:
    """After history, a model that needs bars speaks at the first quote."""
    if model.card.warm_up_bars == 0:
        return
    run = Run(model)
    run.feed(_history(model.card.warm_up_bars))
    assert edges(run.feed(tape(_A, seed=8, seconds=1))), "silent after enough history"


def parameters_are_documented_and_their_defaults_in_range(model: Model) -> None:
    """Each parameter has a description, and the model runs on defaults that its own bounds accept."""
    for name, field in model.parameters_type.model_fields.items():
        assert field.description, f"{name} has no description"
    defaults = model.parse({})
    assert model.parse(defaults.model_dump()) == defaults
    assert model.horizon_ms(defaults) > 0


def card_says_what_it_is(model: Model) -> None:
    """Id, version and every line of the card are there."""
    assert model.id
    assert model.id == model.id.lower()
    assert model.version
    for line in ("summary", "formula", "warm_up", "cannot"):
        assert getattr(model.card, line).strip(), f"the card has no {line}"
    assert model.card.inputs


CHECKS: tuple[Check, ...] = (
    edge_is_finite_and_confidence_a_share,
    silent_until_warm,
    same_tape_same_edges,
    input_is_not_changed,
    restart_in_the_middle_changes_nothing,
    other_instruments_change_nothing,
    mirrored_market_mirrors_the_edge,
    backfilled_bars_warm_it_up,
    parameters_are_documented_and_their_defaults_in_range,
    card_says_what_it_is,
)


def _alternating(ours: Sequence[Quote | Trade], theirs: Sequence[Quote | Trade]) -> list[Quote | Trade]:
    return [event for pair in zip(ours, theirs, strict=False) for event in pair] + list(ours[len(theirs) :])


def _history(count: int) -> list[Bar]:
    bars = []
    for back in range(count, 0, -1):
        price = Decimal(100) + Decimal(back % 7) * _TICK
        end = START_NS - back * 1_000 * NS_PER_MS
        bars.append(
            Bar(
                instrument=_A,
                interval_ms=1_000,
                open=price,
                high=price,
                low=price,
                close=price,
                volume=Decimal(1),
                trades=1,
                backfill=True,
                ts_event=end,
                ts_init=end,
                trace_id=f"sim:AAA:{back}",
            )
        )
    return bars
