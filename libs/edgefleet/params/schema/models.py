"""`conf/models.yml`: which alpha models run, with which parameters, and in which state."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgefleet.params.schema.base import Params


class ModelParams(Params):
    """One model's registration."""

    state: Literal["shadow", "live", "retired"] = "live"
    parameters: dict[str, float | int | str | bool] = Field(default_factory=dict)


class ModelsParams(Params):
    """Models by id."""

    models: dict[str, ModelParams] = Field(
        default_factory=lambda: {"ob_pressure": ModelParams(), "ma_momentum": ModelParams()}
    )
