"""What all parameters have in common: frozen, bounded, unknown keys refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """A block of parameters. A change is a new block."""

    # `serialize_by_alias`: a body is written with the keys that are read, such as `class`.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True)
