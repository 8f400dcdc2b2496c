"""Public REST answers of any venue, as the venue wrote them: market data, no account and no keys of one."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from edgefleet.clock import SYSTEM, Clock
from edgefleet.errors import Misuse, Transient
from edgefleet.venues.answers import is_address, page_title, refusal, unverified, words_of
from edgefleet.venues.budget import Budget

_SILENCE_S = 10.0


class PublicRest:
    """GET requests to one venue, within its rate limits.

    Parameters
    ----------
    root
        What paths are put behind.
    headers
        Sent with every request.
    weights
        What a path (without its query) costs of the venue's limit; one that is not named costs nothing that is counted.
    venue
        Who is asked, for what is told of a failure.
    """

    def __init__(
        self,
        root: str,
        headers: Mapping[str, str] | None = None,
        weights: Mapping[str, int] | None = None,
        clock: Clock = SYSTEM,
        venue: str = "",
    ) -> None:
        self.root = root.rstrip("/")
        self.budget = Budget(clock)
        self._weights = weights or {}
        self._told = f"{venue}: GET" if venue else "GET"
        self._client = httpx.AsyncClient(timeout=_SILENCE_S, headers=dict(headers or {}))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Return the body of an answer.

        Raises
        ------
        Transient
            If the venue does not answer, answers by a page or that it is out of order, or refuses for load; also,
            nothing being asked, where its limits leave no room or it asked for silence.
        OutOfReach
            If it refuses for any other reason; `RefusedForGood` where it is for what was asked.
        Misuse
            If the address is none, or its certificate does not verify.
        """
        url = f"{self.root}{path}"
        told = f"{self._told} {url.partition('?')[0]}"
        if not is_address(url, "http", "https"):
            raise Misuse(f"{told}: this is no address; correct it, as in https://host:port/path")
        weight = self._weights.get(path.partition("?")[0], 0)
        wait_s = self.budget.wait_s("question", weight)
        if wait_s > 0:
            raise Transient(f"{told}: the venue's rate limits leave no room for {wait_s:.1f} s")
        self.budget.leaves("question", weight)
        heard: Mapping[str, str] = {}
        try:
            answer = await self._client.get(url, headers=headers)
            heard = answer.headers
        except httpx.HTTPError as error:
            why = unverified(error)
            if why is not None:
                raise Misuse(
                    f"{told}: its certificate does not verify, {why}; correct the address, or the machine's clock or "
                    "certificates"
                ) from error
            raise Transient(f"{told}: {type(error).__name__} {error}".rstrip()) from error
        finally:
            self.budget.returns("question", weight, heard)
        if answer.status_code == 200:
            if page_title(answer.content) is not None:
                raise Transient(f"{told} answered {words_of(answer.content)}")
            return answer.content
        if answer.status_code in (418, 429):
            self.budget.refused(answer.status_code, None, answer.headers)
        raise refusal(told, answer.status_code, answer.content)
