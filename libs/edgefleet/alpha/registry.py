"""Every alpha model there is, found and not listed: the modules of `edgefleet.alpha.models` and installed plug-ins."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, TypeVar

from edgefleet.alpha.model import AlphaModel
from edgefleet.params.schema.models import register_parameters

ENTRY_POINTS = "edgefleet.alpha"  # an entry point of this group names a module whose import registers models

M = TypeVar("M", bound=type[AlphaModel[Any, Any]])

_MODELS: dict[str, AlphaModel[Any, Any]] = {}


def register(model: M) -> M:
    """Add a model class to the registry. Two models of one id are an error, told with both names."""
    known = _MODELS.get(model.id)
    if known is not None and type(known).__qualname__ != model.__qualname__:
        raise ValueError(
            f"model id {model.id!r} is taken by {type(known).__qualname__}, not free for {model.__qualname__}"
        )
    made = model()
    register_parameters(made.id, made.parameters_type)
    _MODELS[made.id] = made
    return model


def all_models() -> Mapping[str, AlphaModel[Any, Any]]:
    """Return every model by id, in order of id."""
    _discover()
    return MappingProxyType(dict(sorted(_MODELS.items())))


@cache
def _discover() -> None:
    package = importlib.import_module("edgefleet.alpha.models")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    for point in entry_points(group=ENTRY_POINTS):
        point.load()
