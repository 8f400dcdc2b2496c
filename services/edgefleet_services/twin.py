"""`edgefleet twin`: a recorded session against a re-run of its stages. Needs no Redis: the archive has everything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgefleet.alpha.stage import AlphaStage
from edgefleet.ensemble.stage import RouterStage
from edgefleet.errors import Misuse
from edgefleet.orders.stage import OrderStage
from edgefleet.replay.twin import Comparison, compare_stage
from edgefleet.risk.stage import RiskStage
from edgefleet.stage import Stage
from edgefleet.store.history import History

STAGES: tuple[Callable[[], Stage[Any]], ...] = (AlphaStage, RouterStage, RiskStage, OrderStage)


def compare_session(data_dir: Path, *, progress: Callable[[str], None]) -> dict[str, Any]:
    """Return per stage how much of what it wrote came back, and the share over all of them."""
    found: dict[str, Comparison] = {}
    with History.open(data_dir) as history:
        for make in STAGES:
            stage = make()
            progress(f"twin       {stage.service} ...")
            found[stage.service] = compare_stage(stage, stage.service, history)
    if not any(result.commits for result in found.values()):
        raise Misuse(f"{data_dir} holds no journal: no stage of that session ever committed")
    total = Comparison(
        compared=sum(result.compared for result in found.values()),
        equal=sum(result.equal for result in found.values()),
        extra=sum(result.extra for result in found.values()),
    )
    stages = {
        name: {
            "compared": result.compared,
            "equal": result.equal,
            "commits": result.commits,
            "first_difference": result.first_difference,
        }
        for name, result in found.items()
    }
    # Nothing that agrees with nothing is no agreement.
    return {"stages": stages, "parity": total.parity if total.compared + total.extra else None}
