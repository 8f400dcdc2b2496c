"""The router layer as a process. Wiring only: the rules are `edgefleet.ensemble`."""

from __future__ import annotations

from edgefleet.ensemble.stage import RouterStage
from edgefleet_services.bootstrap import serve_stage
from edgefleet_services.options import ServiceOptions


async def serve(options: ServiceOptions) -> None:
    """Run the router until it is told to stop."""
    await serve_stage(RouterStage(), options)
