"""Public REST answers of any venue, as the venue wrote them: market data, no account and no keys of one."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from edgefleet.errors import OutOfReach, Transient

_SILENCE_S = 10.0


class PublicRest:
    """GET requests to one venue.

    Parameters
    ----------
    root
        What paths are put behind.
    headers
        Sent with every request.
    """

    def __init__(self, root: str, headers: Mapping[str, str] | None = None) -> None:
        self.root = root.rstrip("/")
        self._client = httpx.AsyncClient(timeout=_SILENCE_S, headers=dict(headers or {}))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Return the body of an answer.

        Raises
        ------
        Transient
            If the venue does not answer, answers that it is out of order, or refuses for load.
        OutOfReach
            If it refuses for any other reason.
        """
        url = f"{self.root}{path}"
        told = f"GET {url.partition('?')[0]}"
        try:
            answer = await self._client.get(url, headers=headers)
        except httpx.HTTPError as error:
            raise Transient(f"{told}: {type(error).__name__} {error}".rstrip()) from error
        if answer.status_code == 200:
            return answer.content
        if answer.status_code in (418, 429) or answer.status_code >= 500:
            raise Transient(f"{told} answered {answer.status_code}")
        raise OutOfReach(f"{told} answered {answer.status_code}: {answer.text[:200]}")
