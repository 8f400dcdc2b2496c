"""Keys, signatures and timestamps of signed requests, as Binance checks them. Knows nothing of what is asked."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from edgefleet.matching.filters import VenueReject

DEFAULT_WINDOW_MS = 5_000
LARGEST_WINDOW_MS = 60_000
_AHEAD_MS = 1_000


@dataclass(frozen=True)
class Keys:
    """The account's API key and the secret that its requests are signed with."""

    key: str
    secret: str = field(repr=False)

    def check(self, sent: str | None) -> None:
        """Raise `VenueReject` unless `sent` is the account's API key."""
        if not sent:
            raise VenueReject(-2014, "API-key format invalid.", http_status=401)
        if not hmac.compare_digest(sent.encode(), self.key.encode()):
            raise VenueReject(-2015, "Invalid API-key, IP, or permissions for action.", http_status=401)


def check_signature(query: str, body: str, secret: str) -> None:
    """Raise `VenueReject` unless query and body, without the signature, are signed with `secret` (HMAC-SHA256)."""
    sent = ""
    parts: list[str] = []
    for text in (query, body):
        kept = []
        for part in text.split("&"):
            if part.startswith("signature="):
                sent = part.removeprefix("signature=")
            else:
                kept.append(part)
        parts.append("&".join(kept))
    if not sent:
        raise VenueReject(-1102, "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.")
    expected = hmac.new(secret.encode(), "".join(parts).encode(), sha256).hexdigest()
    if not hmac.compare_digest(sent.lower().encode(), expected.encode()):
        raise VenueReject(-1022, "Signature for this request is not valid.")


def check_payload(params: Mapping[str, object], secret: str) -> None:
    """Raise `VenueReject` unless a WebSocket request is signed: its parameters by name, joined as a query."""
    signed = "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")
    check_signature(f"{signed}&signature={params.get('signature', '')}", "", secret)


def check_window(params: Mapping[str, object], now_ms: int) -> None:
    """Raise `VenueReject` unless a request's `timestamp` lies within its `recvWindow`."""
    timestamp = _milliseconds(params, "timestamp")
    if timestamp is None:
        raise VenueReject(-1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.")
    window = _milliseconds(params, "recvWindow")
    check_timestamp(timestamp, DEFAULT_WINDOW_MS if window is None else window, now_ms)


def _milliseconds(params: Mapping[str, object], name: str) -> int | None:
    text = str(params.get(name) or "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise VenueReject(-1100, f"Illegal characters found in parameter '{name}'.") from None


def check_timestamp(timestamp: int, window: int, now_ms: int) -> None:
    """Raise `VenueReject` unless `timestamp` lies within `window` before `now_ms`, all in milliseconds."""
    if not 0 < window <= LARGEST_WINDOW_MS:
        raise VenueReject(-1131, "recvWindow must be less than 60000.")
    if timestamp >= now_ms + _AHEAD_MS:
        raise VenueReject(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - timestamp > window:
        raise VenueReject(-1021, "Timestamp for this request is outside of the recvWindow.")
