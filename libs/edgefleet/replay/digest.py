"""What two runs must have in common, as one hash per stream. Knows which fields may differ between equal runs.

Left out are `ts_init` (when we received), `cause` and `config` (which entry, under which parameters: a reload of risk
limits does not change what alpha saw), and the ids that a venue or a target's cause gives.
"""

from __future__ import annotations

import hashlib

import msgspec

STREAMS = ("market", "signals", "ensembles", "targets", "orders", "fills")

_ALWAYS = ("ts_init", "cause", "edge_cause", "config", "session")
_IDS = ("target_id", "order_id", "venue_order_id")
_LEFT_OUT = dict.fromkeys(STREAMS, _ALWAYS) | {
    "targets": _ALWAYS + _IDS,
    "orders": _ALWAYS + _IDS,
    "fills": (*_ALWAYS, *_IDS, "trade_id", "trace_id"),
}

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Digests:
    """One running hash per stream, fed entry by entry in stream order."""

    def __init__(self) -> None:
        self._hashes = {stream: hashlib.sha256() for stream in STREAMS}
        self.counts = dict.fromkeys(STREAMS, 0)

    def add(self, stream: str, data: bytes) -> None:
        """Take one entry's `data`. Streams that no run compares are ignored."""
        digest = self._hashes.get(stream)
        if digest is None:
            return
        try:
            fields = _DECODER.decode(data)
        except msgspec.DecodeError:  # an entry that no stage could read is part of what happened
            fields = {"": msgspec.Raw(data)}
        for name in _LEFT_OUT[stream]:
            fields.pop(name, None)
        for name, value in fields.items():
            digest.update(name.encode())
            digest.update(value)
        digest.update(b"\n")
        self.counts[stream] += 1

    def hex(self) -> dict[str, str]:
        """Return each stream's digest, 64 hex digits."""
        return {stream: digest.hexdigest() for stream, digest in self._hashes.items()}
