"""`conf/models.yml`: which alpha models run, with which parameters, and in which state."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from edgefleet.params.schema.base import Params

Scalar = bool | int | float | str


class ObPressureParams(Params):
    """Order-book pressure: docs/reference/models/ob_pressure.md."""

    scale_bps: float = Field(25.0, gt=0, le=1_000, description="edge at full pressure, bps")
    horizon_ms: int = Field(10_000, gt=0, le=86_400_000, description="how long the edge is expected to hold")


class MaMomentumParams(Params):
    """Moving-average momentum: docs/reference/models/ma_momentum.md."""

    fast_bars: int = Field(5, ge=1, le=1_000, description="bars in the fast mean")
    slow_bars: int = Field(30, ge=2, le=5_000, description="bars in the slow mean; no output before that many")
    scale: Literal["calibrated", "legacy"] = Field(
        "calibrated", description="calibrated: a 1 % gap is 40 bps; legacy: 40 times the raw gap, so 1 % is 0.4"
    )
    cap_bps: float = Field(40.0, gt=0, le=1_000, description="largest size of the edge, bps")
    horizon_ms: int = Field(60_000, gt=0, le=86_400_000, description="how long the edge is expected to hold")

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        if not self.fast_bars < self.slow_bars:
            raise ValueError(f"fast_bars must be below slow_bars, were {self.fast_bars} and {self.slow_bars}")
        return self


# Parameter blocks by model id. A model from outside adds its own with `register_parameters`.
_PARAMETERS: dict[str, type[Params]] = {"ob_pressure": ObPressureParams, "ma_momentum": MaMomentumParams}


def register_parameters(model_id: str, block: type[Params]) -> None:
    """Make `block` the type of the parameters of `model_id`, before any configuration that names it is read."""
    known = _PARAMETERS.setdefault(model_id, block)
    if known is not block:
        raise ValueError(f"model {model_id!r} has its parameters in {known.__name__} already, not in {block.__name__}")


def parameter_block(model_id: str) -> type[Params] | None:
    """Return the type of a model's parameters, None where no model of that id is known."""
    return _PARAMETERS.get(model_id)


def parameter_blocks() -> dict[str, type[Params]]:
    """Return the type of the parameters of every known model, by model id."""
    return dict(_PARAMETERS)


class ModelParams(Params):
    """One model's registration."""

    state: Literal["shadow", "live", "retired"] = Field(
        "live", description="live: in Signals; shadow: kept warm, not in Signals; retired: off"
    )
    parameters: dict[str, Scalar] = Field(default_factory=dict, description="the model's own, below")


class ModelsParams(Params):
    """Models by id."""

    models: dict[str, ModelParams] = Field(
        default_factory=lambda: {"ob_pressure": ModelParams(), "ma_momentum": ModelParams()}
    )

    @model_validator(mode="after")
    def _parameters_fit_their_models(self) -> Self:
        for model_id, registration in self.models.items():
            block = parameter_block(model_id)
            if block is None:
                raise ValueError(f"models.{model_id}: no such model; known are {', '.join(sorted(_PARAMETERS))}")
            try:
                block.model_validate(registration.parameters)
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(str(part) for part in first["loc"])
                raise ValueError(f"models.{model_id}.parameters.{key}: {first['msg']}") from error
        return self
