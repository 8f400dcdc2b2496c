"""`conf/model_router_rules.yml`: which models are listened to for which instrument."""

from __future__ import annotations

from edgefleet.params.schema.base import Params


class RouterParams(Params):
    """Routing rules."""
