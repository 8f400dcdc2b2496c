"""Binance's request signatures: HMAC-SHA256 of the query as sent. Knows no endpoint."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlencode


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
    query = urlencode({**params, "recvWindow": str(recv_window_ms), "timestamp": str(timestamp_ms)})
    return f"{query}&signature={hmac.new(secret, query.encode(), sha256).hexdigest()}"
