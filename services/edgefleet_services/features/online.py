"""What is now the newest, on its way to Redis. Keeps what Redis has not answered to; decides nothing."""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis

from edgefleet.book.tops import ConsolidatedBest
from edgefleet.messages.market import Bar
from edgefleet.store.features.online import OnlineFeatures
from edgefleet.store.features.sets import FeatureRow, FeatureSet
from edgefleet.store.market.online import OnlineBars, OnlineBest
from edgefleet_services.features.follower import News


class Online:
    """The newest row, bars and best that are to be in one Redis."""

    def __init__(self, redis: Redis, features: FeatureSet, bars: Mapping[str, dict[str, Bar]]) -> None:
        self._features, self._set = OnlineFeatures(redis), features
        self._bars, self._best = OnlineBars(redis), OnlineBest(redis)
        self._rows: dict[str, FeatureRow] = {}
        # All kinds of an instrument each time, those of earlier runs first: what Redis forgot is there again with them.
        self._kinds: dict[str, dict[str, Bar]] = dict(bars)
        self._bests: dict[str, ConsolidatedBest] = {}

    def add(self, news: News) -> None:
        """Take what is newer."""
        self._rows |= news.rows
        self._kinds |= news.bars
        self._bests |= news.bests

    async def publish(self) -> None:
        """Put it in force.

        Raises
        ------
        Transient
            If Redis does not answer. What is not in force yet stays for the next call.
        """
        while self._rows:
            instrument, row = next(iter(self._rows.items()))
            await self._features.write(self._set, row)
            del self._rows[instrument]
        while self._kinds:
            instrument, bars = next(iter(self._kinds.items()))
            await self._bars.write(instrument, bars)
            del self._kinds[instrument]
        while self._bests:
            symbol, best = next(iter(self._bests.items()))
            await self._best.write(best)
            del self._bests[symbol]
