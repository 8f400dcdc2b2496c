"""What comes in place of a venue's answer: a page, a refusal for where we are, no address. Opens nothing."""

from __future__ import annotations

import re
import ssl
from typing import Final
from urllib.parse import urlsplit

from edgefleet.errors import FleetError, OutOfReach, Transient

GEO_BLOCKED: Final = 451
_MOST_WORDS, _MOST_BYTES = 200, 65_536
_TITLE = re.compile(rb"<(title|h1)\b[^>]*>(.*?)</\1", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(rb"<[^>]*>")


class RefusedForGood(OutOfReach):
    """The venue refuses this very question (HTTP 400, 404), however often it is asked: the asker does without."""


def page_title(body: bytes) -> str | None:
    """Return the title of an HTML page, where it has none its text, and None where `body` is no page.

    >>> [page_title(b"<html><head><title>503 Maintenance</title></head></html>"), page_title(b'{"a":1}')]
    ['503 Maintenance', None]
    """
    if not body[:1_024].lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        return None
    found = _TITLE.search(body[:_MOST_BYTES])
    text = _TAG.sub(b" ", body[:_MOST_BYTES] if found is None else found[2])
    return " ".join(text.decode(errors="replace").split())[:_MOST_WORDS]


def words_of(body: bytes) -> str:
    """Return what a body says to a person, on one line."""
    title = page_title(body)
    if title is None:
        return " ".join(body[:_MOST_WORDS].decode(errors="replace").split())
    return f"HTML, not JSON: {title or 'an empty page'}"


def refusal(told: str, status: int, body: bytes) -> FleetError:
    """Return the error that an answer other than 200 stands for. `told` says what was asked for, and of whom."""
    words = words_of(body)
    said = f"{told} answered {status}" + (f": {words}" if words else "")
    if status == GEO_BLOCKED:
        where = "a geo-block: the venue serves nobody where this machine is"
        return OutOfReach(f"{told} answered {status}, {where}" + (f": {words}" if words else ""))
    if status in (418, 429) or status >= 500:
        return Transient(said)
    return RefusedForGood(said) if status in (400, 404) else OutOfReach(said)


def is_address(url: str, *schemes: str) -> bool:
    """Return whether `url` names a host by one of `schemes`.

    >>> [is_address(url, "http", "https") for url in ("https://h:1/x", "h:1", "https://[x", "http://a b", "wss://h")]
    [True, False, False, False, False]
    """
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return has_host and parts.scheme in schemes and not re.search(r"\s", parts.netloc)


def unverified(error: BaseException | None) -> str | None:
    """Return why a certificate does not verify where that is what an error came of, None where it is not."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return getattr(error, "verify_message", "") or str(error)  # set by a handshake alone
        error = error.__cause__ or error.__context__
    return None
