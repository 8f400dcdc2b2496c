"""`conf/risk_params.yml`: blending, sizing and limits."""

from __future__ import annotations

from edgefleet.params.schema.base import Params


class RiskParams(Params):
    """What one instrument and the whole book may risk."""
