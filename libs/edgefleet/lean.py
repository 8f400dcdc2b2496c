"""Imports without what they would take along. Knows the import system; knows nothing of who imports what."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(*modules: str) -> Iterator[None]:
    """Keep modules from being loaded by what is imported in the block; one that is loaded already stays."""
    hidden = [name for name in modules if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # what the import system takes for "not there"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


_spared: set[str] = set()


@contextmanager
def sparing(*modules: str) -> Iterator[None]:
    """Say that what is imported in the block will not be asked for what it could do with these modules.

    A library of ours that knows how then goes without them (see `spared`), for the life of the process.
    """
    added = {name for name in modules if name not in _spared}
    _spared.update(added)
    try:
        yield
    finally:
        _spared.difference_update(added)


def spared(*modules: str) -> tuple[str, ...]:
    """Return those of the modules that the importer said it can go without."""
    return tuple(name for name in modules if name in _spared)
