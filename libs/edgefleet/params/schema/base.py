"""What all parameters have in common: frozen, bounded, unknown keys refused."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

# What a field's `json_schema_extra` says of its tighter side. A change to it applies at once; one to the looser side
# waits until risk and executor have confirmed it.
LOWER: Final[JsonDict] = {"tighter": "lower"}
HIGHER: Final[JsonDict] = {"tighter": "higher"}


class Params(BaseModel):
    """A block of parameters. A change is a new block."""

    # `serialize_by_alias`: a body is written with the keys that are read, such as `class`.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True)
