"""What may be asked on `param.reload`, and how it is answered on `param.answered`. Does nothing."""

from __future__ import annotations

import msgspec

from edgefleet.errors import Misuse

RELOAD = "param.reload"
ANSWERED = "param.answered"
MAX_BYTES = 64 * 1024


class ReloadRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read a component's file again, or all of them where none is named."""

    component: str | None = None
    config_path: str | None = None  # relative to the directory that holds the configuration directory
    id: str = ""  # cited in the answer, so that whoever asked can tell it from others
    author: str = "param.reload"


class ReloadAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a request came to."""

    id: str
    ok: bool
    n: int = 0  # of the write
    versions: dict[str, int] = {}  # of the components that changed
    waiting: dict[str, int] = {}  # of the components that wait for confirmations
    errors: tuple[str, ...] = ()  # each: file, line, key, reason


def parse_request(payload: bytes) -> ReloadRequest:
    """Return the request in `payload`; an empty one, `{}` and `null` ask for everything.

    Raises
    ------
    Misuse
        If it is not the JSON of a request.

    Examples
    --------
    >>> parse_request(b'{"component": "models"}').component
    'models'
    """
    if len(payload) > MAX_BYTES:
        raise Misuse(f"a request is at most {MAX_BYTES:,} bytes, was {len(payload):,}")
    text = payload.strip()
    if text in (b"", b"{}", b"null", b'""'):
        return ReloadRequest()
    try:
        request = msgspec.json.decode(text, type=ReloadRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Misuse(f'the payload is not readable: {error}; write {{"component": "risk_harmonizer"}}') from error
    if request.component is None and request.config_path is not None:
        raise Misuse("config_path needs a component beside it")
    return request
