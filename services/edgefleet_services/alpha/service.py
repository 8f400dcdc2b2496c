"""The alpha layer as a process. Wiring only: the arithmetic is `edgefleet.alpha`."""

from __future__ import annotations

from edgefleet.alpha.stage import AlphaStage
from edgefleet_services.bootstrap import serve_stage
from edgefleet_services.options import ServiceOptions


async def serve(options: ServiceOptions) -> None:
    """Run alpha until it is told to stop."""
    await serve_stage(AlphaStage(), options)
