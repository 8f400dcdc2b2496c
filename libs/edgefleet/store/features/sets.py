"""What a feature set is and what one row of it says. Knows no file and no server."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import msgspec

from edgefleet.errors import Misuse
from edgefleet.ids import body_hash

_NAME = re.compile(r"[a-z][a-z0-9_]{0,79}")
_FEATURE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,119}")
_TAKEN = frozenset({"seq", "ts_event", "available_at", "instrument", "date", "asked_at"})  # columns of the store's own


class FeatureSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of features and how each is made. The same name and version always mean the same definitions."""

    name: str
    version: int
    definitions: dict[str, str]  # feature -> all that decides its value, such as "ofi(levels=5, window_s=10)"

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise Misuse(f"a feature set is named by small letters, digits and underscores, was {self.name!r}")
        if self.version < 1 or not self.definitions:
            raise Misuse(f"feature set {self.name} needs a version from 1 and a feature, had version {self.version}")
        for feature in self.definitions:
            if _FEATURE.fullmatch(feature) is None or feature in _TAKEN:
                raise Misuse(f"feature set {self.name}: {feature!r} cannot be the name of a feature")

    @property
    def features(self) -> tuple[str, ...]:
        """Return the names, in the order of the columns."""
        return tuple(self.definitions)

    @property
    def digest(self) -> str:
        """Return what tells these definitions from any others (sha256, hex)."""
        return body_hash(self.definitions)

    @property
    def label(self) -> str:
        """Return what a training set says it was made of: ``name@version:digest``."""
        return f"{self.name}@{self.version}:{self.digest[:12]}"


class FeatureRow(NamedTuple):
    """The features of one instrument at one moment of market time."""

    instrument: str
    ts_event: int  # ns, the market time that the values describe
    available_at: int  # ns, when they could first be used: never before that may anything see them
    values: dict[str, float | None]  # None: the feature has no value then, for want of data


def checked(features: FeatureSet, row: FeatureRow) -> FeatureRow:
    """Return the row with every feature of the set, absent ones as None.

    Raises
    ------
    ValueError
        If it was available before its own moment, names a feature that the set has not, or holds NaN or an infinity.
    """
    if row.available_at < row.ts_event:
        message = f"{features.label} of {row.instrument} cannot be known before it is: ts_event {row.ts_event}"
        raise ValueError(f"{message}, available_at {row.available_at}")
    if unknown := sorted(set(row.values) - set(features.definitions)):
        raise ValueError(f"{features.label} has no feature {', '.join(unknown)}")
    for name, value in row.values.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} of {row.instrument} must be finite or None, was {value!r}")
    return row._replace(values={name: row.values.get(name) for name in features.definitions})
