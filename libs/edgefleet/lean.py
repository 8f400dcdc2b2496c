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
