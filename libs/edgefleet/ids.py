"""Identifiers derived from what they name, so that the same decision has the same name after any crash."""

from __future__ import annotations

import base64
import hashlib

import msgspec


def client_order_id(account: str, venue: str, target_id: str, leg: int, attempt: int, *, prefix: str = "ef") -> str:
    """Return the venue-facing name of one attempt at one leg of a target.

    The same decision gives the same id in any process and after any restart, so a venue that
    refuses duplicate ids refuses a repeated order.

    Examples
    --------
    >>> client_order_id("main", "sim", "t1", 0, 0) == client_order_id("main", "sim", "t1", 0, 0)
    True
    """
    digest = hashlib.sha256(f"{account}|{venue}|{target_id}|{leg}|{attempt}".encode()).digest()
    # Five bytes are eight letters, whatever follows.
    return prefix + base64.b32encode(digest[:15]).decode()[:20].lower()


def body_hash(body: object) -> str:
    """Return the sha256 (hex) of `body` as JSON with sorted keys: equal content, equal hash."""
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()


def trace_id(venue: str, symbol: str, sequence: int | str) -> str:
    """Return the name of what happened at a venue, the same in every run over the same data."""
    return f"{venue}:{symbol}:{sequence}"
