"""Frames of an exchange that ccxt.pro watches for us: the connection is ccxt's, what it says is put in our queue.

ccxt.pro takes 3 s and 120 MB to import, so it is imported where an exchange is opened and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from edgefleet.clock import Clock
from edgefleet.errors import Misuse, Transient
from edgefleet.venues.ccxt import wire
from edgefleet.venues.connection import Frames

DEPTH: Final = 100  # levels of each side in a frame

Watch = Callable[[str], Awaitable[Any]]
ToFrame = Callable[[str, Any], wire.Frame]


@asynccontextmanager
async def open_frames(
    exchange_id: str,
    symbols: Sequence[str],
    clock: Clock,
    *,
    depth: int = DEPTH,
    make: Callable[[], Any] | None = None,
) -> AsyncIterator[Frames]:
    """Give the frames of an exchange; everything is closed at the end of the block.

    `make` makes the ccxt.pro exchange where the one of that id with no settings is not what is wanted: another host,
    keys, options.

    Raises
    ------
    Misuse
        If ccxt is not installed, has no such exchange, or the exchange has no such symbol.
    Transient
        If the exchange does not answer.
    """
    errors = _errors()
    exchange = (make or (lambda: _exchange(exchange_id)))()
    frames = Frames(clock, waits=False)
    watching: list[asyncio.Task[None]] = []
    try:
        try:
            markets = await exchange.load_markets()
        except errors.NetworkError as error:
            raise Transient(f"{exchange_id} does not answer: {_text(error)}") from error
        except errors.BaseError as error:
            raise Misuse(f"{exchange_id} refuses to say what it lists: {_text(error)}") from error
        missing = [symbol for symbol in symbols if symbol not in markets]
        if missing:
            raise Misuse(f"{exchange_id} does not list {', '.join(missing)}")
        for symbol in symbols:
            frames.receive(wire.encode(wire.market_frame(symbol, markets[symbol], exchange.precisionMode)))
        watching = [
            asyncio.create_task(_watch(exchange, symbol, what, to_frame, frames, errors))
            for symbol in symbols
            for what, to_frame in _kinds(depth)
        ]
        ending = asyncio.create_task(_end_with(watching, frames))
        watching.append(ending)
        yield frames
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        frames.end("reading was stopped")
        await exchange.close()


def _kinds(depth: int) -> tuple[tuple[str, ToFrame], ...]:
    return (
        ("watch_order_book", lambda symbol, book: wire.book_frame(symbol, book, depth)),
        ("watch_trades", wire.trades_frame),
        ("watch_ticker", wire.ticker_frame),
    )


async def _watch(exchange: Any, symbol: str, what: str, to_frame: ToFrame, frames: Frames, errors: Any) -> None:
    """Put what is watched into the queue until the connection fails; what is refused is told once."""
    watch: Watch = getattr(exchange, what)
    while frames.closed is None:
        try:
            answer = await watch(symbol)
        except errors.NetworkError as error:
            frames.end(f"{what} {symbol}: {_text(error)}")
            return
        except errors.BaseError as error:
            frames.receive(wire.encode(wire.Refused(symbol=symbol, what=what, reason=_text(error))))
            return
        frames.receive(wire.encode(to_frame(symbol, answer)))


async def _end_with(watching: Sequence[asyncio.Task[None]], frames: Frames) -> None:
    """End the connection when nothing is watched any more, or something broke that is no answer of an exchange."""
    pending = set(watching)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            failure = None if task.cancelled() else task.exception()
            if failure is not None:
                frames.end(f"{type(failure).__name__}: {failure}"[:300])
                return
    frames.end("nothing is watched any more")


def _exchange(exchange_id: str) -> Any:
    import ccxt.pro

    kind = getattr(ccxt.pro, exchange_id, None) if exchange_id in ccxt.pro.exchanges else None
    if kind is None:
        raise Misuse(f"ccxt.pro has no exchange {exchange_id!r}; its page names those it can watch: docs.ccxt.com")
    return kind({"enableRateLimit": True})


def _errors() -> Any:
    try:
        from ccxt.base import errors
    except ImportError as error:
        raise Misuse("ccxt is not installed; install edgefleet with its extra: edgefleet[venues]") from error
    return errors


def _text(error: Exception) -> str:
    return f"{type(error).__name__} {error}"[:200]
