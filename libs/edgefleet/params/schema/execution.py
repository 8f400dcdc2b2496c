"""`conf/execution.yml`: how targets become orders."""

from __future__ import annotations

from edgefleet.params.schema.base import Params


class ExecutionParams(Params):
    """Order placement."""
