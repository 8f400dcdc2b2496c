"""The risk layer as a process. Wiring only: the verdicts are `edgefleet.risk`."""

from __future__ import annotations

from edgefleet.risk.stage import RiskStage
from edgefleet_services.bootstrap import serve_stage
from edgefleet_services.options import ServiceOptions


async def serve(options: ServiceOptions) -> None:
    """Run risk until it is told to stop."""
    await serve_stage(RiskStage(), options)
