"""Keys, capped streams and channels that other programs read. Writes values, never increments; reads no stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis

from edgefleet.clock import NS_PER_MS
from edgefleet.messages import Ensemble, Message, ModelSwitched

KEPT_POINTS = 3_600
ALL = "all"  # in the place of an account: what several come to


class Outward:
    """Writes what changed, once per pass."""

    def __init__(self, redis: Redis, label: Callable[[str], str]) -> None:
        self._redis: Any = redis  # redis-py types its arguments more narrowly than it takes them
        self._label = label  # what other programs know an instrument by
        self._written: dict[str, str] = {}

    async def write(
        self,
        *,
        edges: Mapping[str, float],
        sizes: Mapping[str, str],
        vars_pct: Mapping[str, float],
        equity: Mapping[str, tuple[int, str, str]],
        switches: int | None,
        ts: int,
        messages: Iterable[Message],
    ) -> None:
        """Write each value that is new, and publish what the messages of this pass said.

        `edges` and `vars_pct` are by symbol, `sizes` by symbol as exact text in quote units, `equity` by account as
        (ns, amount, session); `ts` is market time in ns; `switches` is None until the log was looked at.
        """
        pipe = self._redis.pipeline(transaction=False)
        published = {
            f"risk.edge_blended.{symbol}": {"symbol": symbol, "edge_bps": edge, "ts": ts}
            for symbol, edge in edges.items()
        }
        series = [(f"edge_blended_bps:{symbol}", repr(edge)) for symbol, edge in edges.items()]
        series += [(f"position_size_usd:{symbol}", size) for symbol, size in sizes.items()]
        series += [(f"var_pct:{symbol}", repr(value)) for symbol, value in vars_pct.items()]
        for key, text in series:
            if self._is_new(key, text):
                pipe.set(key, text)
                point = {"ts": str(ts // NS_PER_MS), "value": text}
                pipe.xadd(f"ts:{key}", point, maxlen=KEPT_POINTS, approximate=True)
                symbol = key.partition(":")[2]
                if key.startswith("edge_blended_bps:"):
                    pipe.publish(
                        f"risk.edge_blended.{symbol}", msgspec.json.encode(published[f"risk.edge_blended.{symbol}"])
                    )
        for account, (at, amount, session) in equity.items():
            # Before the first touch a book is worth its cash, at no market time yet.
            if at > 0 and self._is_new(f"equity:{account}", f"{at // 1_000_000_000}"):
                point = {"ts": str(at // NS_PER_MS), "value": amount, "session": session}
                pipe.xadd(equity_key(account), point, maxlen=KEPT_POINTS, approximate=True)
        if switches is not None and self._is_new("model_switch_total", str(switches)):
            pipe.set("model_switch_total", switches)
        self._publish(pipe, messages)
        await pipe.execute()

    def _publish(self, pipe: Any, messages: Iterable[Message]) -> None:
        newest: dict[str, Ensemble] = {}
        for message in messages:
            if isinstance(message, ModelSwitched):
                pipe.publish("alpha.switching.events", msgspec.json.encode(message))
            elif isinstance(message, Ensemble):
                newest[self._label(message.instrument)] = message
        for symbol, ensemble in newest.items():
            chosen = [edge.model for edge in ensemble.chosen]
            body = {"symbol": symbol, "models": chosen, "rule": ensemble.rule, "ts": ensemble.ts_event}
            pipe.publish(f"alpha.selected.{symbol}", msgspec.json.encode(body))

    def _is_new(self, key: str, text: str) -> bool:
        if self._written.get(key) == text:
            return False
        self._written[key] = text
        return True


def equity_key(account: str) -> str:
    """Return the capped stream of an account's equity, one point a second of market time."""
    return f"ts:equity_usd:{account}"
