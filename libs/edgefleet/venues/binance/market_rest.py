"""The public REST answers that a Binance-dialect venue's feed needs, as the venue wrote them."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from edgefleet.errors import OutOfReach, Transient

AS_OF_HEADER = "X-Edgefleet-As-Of"
BOOK_LEVELS = 1_000  # of each side, in an answer that is asked for


class MarketRest:
    """The public REST answers that a feed needs, as the venue wrote them."""

    def __init__(self, base_url: str) -> None:
        base = base_url.rstrip("/")
        self._root = base.removesuffix("/api/v3")
        self._client = httpx.AsyncClient(base_url=f"{self._root}/api/v3", timeout=10.0)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def depth(self, symbol: str, *, as_of: int | None = None) -> bytes:
        """Return the whole book: 1,000 levels a side.

        `as_of` asks a simulated venue that plays a tape for the book as it was after that update, so that what follows
        does not depend on how far the tape has run meanwhile.
        """
        headers = {} if as_of is None else {AS_OF_HEADER: str(as_of)}
        return await self._get("/depth", headers, symbol=symbol, limit=str(BOOK_LEVELS))

    async def exchange_info(self) -> bytes:
        """Return what the venue lists."""
        return await self._get("/exchangeInfo")

    async def klines(self, symbol: str, interval: str, *, count: int) -> bytes:
        """Return the newest `count` candles."""
        return await self._get("/klines", symbol=symbol, interval=interval, limit=str(count))

    async def sim_status(self) -> bytes:
        """Return what a simulated venue says of its market."""
        return await self._get(f"{self._root}/sim/status")

    async def _get(self, path: str, headers: Mapping[str, str] | None = None, **params: str) -> bytes:
        try:
            answer = await self._client.get(path, params=params, headers=headers)
        except httpx.HTTPError as error:
            raise Transient(f"venue {self._root}: GET {path}: {type(error).__name__} {error}".rstrip()) from error
        if answer.status_code == 200:
            return answer.content
        if answer.status_code in (418, 429) or answer.status_code >= 500:
            raise Transient(f"venue {self._root}: GET {path} answered {answer.status_code}")
        raise OutOfReach(f"venue {self._root}: GET {path} answered {answer.status_code}: {answer.text[:200]}")
