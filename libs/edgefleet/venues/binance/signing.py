"""Binance's request signatures: HMAC-SHA256 of the query as sent. Knows no endpoint."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote_plus

_AS_IT_IS = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch  # what `quote_plus` leaves alone, and nearly all there is


def signed_query(params: Mapping[str, str], secret: bytes, *, timestamp_ms: int, recv_window_ms: int) -> str:
    """Return the query string of `params` with window, timestamp and signature.

    The example of Binance's documentation (Spot API, "SIGNED endpoint examples"):

    >>> signed_query(
    ...     {"symbol": "LTCBTC", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "0.1"},
    ...     b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
    ...     timestamp_ms=1499827319559,
    ...     recv_window_ms=5000,
    ... )[-64:]
    'c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71'
    """
    parts = [f"{name}={text if _AS_IT_IS(text) else quote_plus(text)}" for name, text in params.items()]
    query = "&".join((*parts, f"recvWindow={recv_window_ms}", f"timestamp={timestamp_ms}"))
    return f"{query}&signature={hmac.digest(secret, query.encode(), 'sha256').hex()}"
