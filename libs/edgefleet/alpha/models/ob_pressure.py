"""Order-book pressure: the side with more at the best price pushes. Knows only the top of one book."""

from __future__ import annotations

import msgspec

from edgefleet.alpha.model import AlphaModel, Card, Edge
from edgefleet.alpha.registry import register
from edgefleet.features import Top
from edgefleet.params.schema.models import ObPressureParams


class ObPressureState(msgspec.Struct, tag="ob_pressure"):
    """Nothing: the top of book is all that this model uses."""


@register
class ObPressure(AlphaModel[ObPressureState, ObPressureParams]):
    """``edge = scale (b - a) / (b + a)`` of the best sizes; confidence ``0.5 + 0.5 |p|``."""

    id = "ob_pressure"
    version = "1"
    card = Card(
        summary="Imbalance of the sizes at the best bid and ask",
        formula="p = (b - a)/(b + a); edge = scale_bps * p; confidence = 0.5 + 0.5 |p|",
        inputs=("best bid size", "best ask size"),
        warm_up="none: the first quote",
        warm_up_bars=0,
        cannot="see behind the best price, tell a spoofed size from a real one, or know how fast sizes change",
        mirrors=True,
    )
    state_type = ObPressureState
    parameters_type = ObPressureParams

    def initial(self) -> ObPressureState:
        return ObPressureState()

    def edge(self, state: ObPressureState, top: Top, parameters: ObPressureParams) -> Edge | None:
        pressure = pressure_of(top.bid_size, top.ask_size)
        if pressure is None:
            return None
        return Edge(parameters.scale_bps * pressure, 0.5 + 0.5 * abs(pressure))

    def horizon_ms(self, parameters: ObPressureParams) -> int:
        return parameters.horizon_ms


def pressure_of(bid_size: float, ask_size: float) -> float | None:
    """Return ``(b - a)/(b + a)`` in [-1, 1], None where both sizes are zero.

    Examples
    --------
    >>> round(25 * pressure_of(10.0, 2.0), 2), pressure_of(5.0, 5.0)
    (16.67, 0.0)
    """
    total = bid_size + ask_size
    return (bid_size - ask_size) / total if total > 0 else None
